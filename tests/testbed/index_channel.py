#!/usr/bin/env python3
"""Writes the repodata of a channel from its records. usage: index_channel.py CHANNEL"""
import sys

from conda_package import index

index(sys.argv[1])
