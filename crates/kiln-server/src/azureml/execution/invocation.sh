#!/bin/bash
# Runs what was submitted, and tells kiln how it goes.
set -u
setup="$(cd "$(dirname "$0")" && pwd)"
cd "$setup/.." || exit 1
exec > "$setup/invocation.log" 2>&1 < /dev/null
at='@SERVER@/execution/v1.0/local/@RUN@'
query='workspace=@WORKSPACE@&signature=@SIGNATURE@'
how='@HOW@'
container='kiln-@RUN@'
log=azureml-logs/70_driver_log.txt
piece=1000000
sent=0

ask() {
    curl --silent --show-error --fail --retry 5 --retry-connrefused --output /dev/null "$@"
}

# tell STATUS [EXIT_CODE [MESSAGE]]
tell() {
    ask --request POST --data-binary "${3:-}" "$at/status?$query&status=$1${2:+&exit_code=$2}"
}

fail() {
    ship
    tell Failed '' "$1"
    exit 1
}

cancelled() {
    [ -e "$setup/killfile" ]
}

# Sends what the log has gained.
ship() {
    local size count
    size=$(stat --format %s "$log")
    while [ "$sent" -lt "$size" ]; do
        count=$((size - sent < piece ? size - sent : piece))
        tail --bytes "+$((sent + 1))" "$log" | head --bytes "$count" |
            ask --request POST --data-binary @- "$at/log?$query&offset=$sent" || return
        sent=$((sent + count))
    done
}

# send FOLDER...: keeps files of the run.
send() {
    tar --create "$@" | ask --request POST --upload-file - "$at/files?$query"
}

mapfile -d '' -t command < "$setup/command"
mapfile -d '' -t variables < "$setup/variables"
mkdir -p outputs logs azureml-logs
: > "$log"
if [ -n '@SNAPSHOT@' ]; then
    send --exclude ./azureml-setup --exclude ./azureml-environment-setup --exclude ./azureml-logs \
        --exclude ./invocation.zip --exclude ./outputs --exclude ./logs --transform 's,^\.,source,' .
fi

case $how in
docker)
    image=
    while [ -z "$image" ]; do
        if cancelled; then
            tell Canceled
            exit 0
        fi
        answer=$(curl --silent --show-error --retry 5 --retry-connrefused --write-out '\n%{http_code}' "$at/image?$query")
        case ${answer##*$'\n'} in
        200) image=${answer%$'\n'*} ;;
        202) sleep 1 ;;
        *) fail "${answer%$'\n'*}" ;;
        esac
    done
    options=()
    for variable in "${variables[@]}"; do
        options+=(--env "$variable")
    done
    if ! docker image inspect "$image" > /dev/null 2>&1; then
        docker pull --quiet "$image" >> "$log" 2>&1 || fail "the image $image can't be pulled: see the log"
    fi
    tell Running
    docker run --rm --init --name "$container" --label 'io.kiln.run=@RUN@' --volume "$PWD:/work" --workdir /work \
        --user "$(id -u):$(id -g)" --env HOME=/tmp "${options[@]}" --entrypoint '' "$image" "${command[@]}" >> "$log" 2>&1 &
    ;;
prepared)
    chmod 755 azureml-environment-setup/*.sh
    azureml-environment-setup/check.sh >> "$log" 2>&1 || azureml-environment-setup/build.sh >> "$log" 2>&1 ||
        fail 'the environment could not be prepared: see the log'
    tell Running
    PATH="@PREFIX@/bin:$PATH" setsid env "${variables[@]}" "${command[@]}" >> "$log" 2>&1 &
    ;;
own)
    tell Running
    setsid env "${variables[@]}" "${command[@]}" >> "$log" 2>&1 &
    ;;
esac
child=$!

stopped=
while kill -0 "$child" 2> /dev/null; do
    if [ -z "$stopped" ] && cancelled; then
        stopped=yes
        if [ "$how" = docker ]; then
            docker kill "$container" > /dev/null
        else
            kill -KILL -- "-$child"
        fi
    fi
    ship
    sleep 0.5
done
wait "$child"
code=$?
ship
if [ -n '@OUTPUTS@' ]; then
    send outputs logs azureml-logs
else
    send azureml-logs
fi
if [ -n "$stopped" ]; then
    tell Canceled "$code"
elif [ "$code" = 0 ]; then
    tell Completed 0
else
    tell Failed "$code" "$(tail --bytes 4000 "$log")"
fi
