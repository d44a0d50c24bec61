"""Serves the entry script of a model: kiln puts this into images with the inferencing stack."""

import os
import sys

from azureml_inference_server_http.amlserver import run

root = os.environ.setdefault("AML_APP_ROOT", "/var/azureml-app")
script = os.environ.get("AZUREML_ENTRY_SCRIPT", "main.py")
os.chdir(root)
sys.path.insert(0, root)
sys.argv[1:1] = ["--entry_script", os.path.join(root, script)]
run()
