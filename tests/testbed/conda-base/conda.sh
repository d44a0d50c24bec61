# `conda activate` and `conda deactivate` for POSIX shells, in place of the file that conda's wheel does not carry.
conda() {
    case "${1-}" in
        activate|deactivate)
            __kiln_script=$(PS1="${PS1-}" "$CONDA_EXE" shell.posix "$@") || return
            eval "$__kiln_script"
            unset __kiln_script
            hash -r
            ;;
        *) "$CONDA_EXE" "$@" ;;
    esac
}
if [ -z "${CONDA_SHLVL+set}" ]; then
    CONDA_SHLVL=0
    PATH="${CONDA_EXE%/bin/conda}/condabin${PATH:+:$PATH}"
    : "${PS1=}"
    export CONDA_SHLVL PATH
fi
