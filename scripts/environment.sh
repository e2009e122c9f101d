# Make the virtual environment and activate it. Sourced by quickstart.sh and run_tests.sh, from the project's folder:
#
#     source scripts/environment.sh requirements.txt [requirements-dev.txt ...]
#
# TSN_PADDLE=2.6.2 installs that Paddle, in an environment of its own. TSN_PYTHON=/path/to/python3.10 chooses the Python.
# TSN_PINS=lowest takes the oldest release series of every other package that the requirements allow.
# An environment that is complete is used as it is.

tsn_find_python() {
    local candidate
    for candidate in ${TSN_PYTHON:-python3 python3.12 python3.11 python3.10 python}; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "error: no Python 3.10, 3.11 or 3.12 found; install one, or set TSN_PYTHON to it" >&2
    return 2
}

tsn_make_environment() {
    local python version environment installed file pins kept install=()
    python=$(tsn_find_python) || return
    version=$("$python" --version)
    environment=.venv${TSN_PADDLE:+-paddle-$TSN_PADDLE}${TSN_PINS:+-$TSN_PINS}
    for file in "$@"; do install+=(-r "$file"); done
    if [ -n "${TSN_PADDLE:-}" ]; then
        install+=("paddlepaddle==$TSN_PADDLE")
        case $TSN_PADDLE in 2.*) install+=("numpy==1.26.*") ;; esac
        case "$TSN_PADDLE $*" in 2.*onnx* | 2.*openvino*) install+=("paddle2onnx==1.3.1") ;; esac
    fi
    if [ "${TSN_PINS:-}" = lowest ]; then  # numpy>=1.26,<3 becomes numpy==1.26.*
        pins=$(mktemp)
        # what depends on Paddle's version stays out: paddle2onnx, and safetensors, of which Paddle 3 wants a newer one
        case ${TSN_PADDLE:-3} in 2.*) kept='^paddle' ;; *) kept='^(paddle|safetensors)' ;; esac
        cat "$@" | grep -vE "$kept" | sed -nE 's/^([A-Za-z0-9_-]+)>=([0-9.]+)[^;]*/\1==\2.*/p' > "$pins"
        install+=(-c "$pins")
    fi
    # a mark that only a finished install of these very requirements leaves
    installed=$environment/installed.$(cat "$@" | cksum | cut -d ' ' -f 1)
    if [ "$(cat "$installed" 2>/dev/null)" = "$version" ]; then
        echo "== environment: $environment is ready"
    else
        echo "== environment: installing $* ${TSN_PADDLE:+with Paddle $TSN_PADDLE }into $environment ($version)"
        if [ "$("$environment/bin/python" --version 2>/dev/null)" != "$version" ]; then
            if ! "$python" -m venv --clear "$environment"; then
                echo "error: this Python cannot make an environment; on Debian and Ubuntu: apt-get install python3-venv" >&2
                return 2
            fi
        fi
        "$environment/bin/python" -m pip install --quiet --disable-pip-version-check "${install[@]}" || return
        echo "$version" > "$installed"
    fi
    source "$environment/bin/activate"
}

tsn_make_environment "$@"
