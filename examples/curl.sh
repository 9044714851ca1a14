#!/usr/bin/env bash
# A picture and three changes to it by curl alone, in Chinese and English. It needs a running server:
#   SERVER_URL=http://127.0.0.1:8300 API_KEY=... examples/curl.sh FOLDER
# python3 only reads the JSON of the answers; `jq -r .id` would do as well.
set -euo pipefail
server=${SERVER_URL:-http://127.0.0.1:8300}
folder=${1:-pictures}
mkdir -p "$folder"

# One request. A refused one prints the server's sentence, which says what to do, and ends the script.
ask() { curl --silent --show-error --fail-with-body --header "Authorization: Bearer ${API_KEY:-}" "$@"; }

# A value of the JSON on stdin, such as: value '["images"][0]["id"]'
value() { python3 -c "import json, sys; print(json.load(sys.stdin)$1)"; }

# Submit a job. The answer, 202, comes once the job is stored, and names its id.
submit() { ask "$server/v1/jobs" --header 'Content-Type: application/json' --data "$1" | value '["id"]'; }

# Wait for a job: each request is answered as soon as something happens, after 20 seconds at the latest.
finished() {
  local job state
  while true; do
    job=$(ask "$server/v1/jobs/$1?wait=20")
    state=$(value '["state"]' <<<"$job")
    case $state in
      succeeded) echo "$job" && return ;;
      failed | cancelled) value '["error"]' <<<"$job" >&2 && return 1 ;;
    esac
  done
}

# Save the first picture of a job, and say where.
save() {
  ask "$server/v1/images/$(value '["images"][0]["id"]' <<<"$1")/content" --output "$folder/$2"
  echo "$folder/$2"
}

# 1. Paint in Chinese: a red apple on a blue background. The same seed gives the same picture.
job=$(submit '{"operation": "generate", "prompt": "蓝色背景上的红苹果", "aspect_ratio": "1:1", "seed": 7}')
apple=$(finished "$job")
save "$apple" apple.png
id=$(value '["images"][0]["id"]' <<<"$apple")

# 2. Edit by an instruction, naming the image that the server keeps.
job=$(submit "{\"operation\": \"edit\", \"image\": \"$id\", \"prompt\": \"make the background green\", \"seed\": 7}")
save "$(finished "$job")" green.png

# 3. Change a part only, in fractions of the picture: replace the apple with a cat. Outside it no pixel changes.
region='{"x": 0.1, "y": 0.1, "width": 0.8, "height": 0.8}'
job=$(submit "{\"operation\": \"inpaint\", \"image\": \"$id\", \"prompt\": \"把苹果换成猫\", \"region\": $region, \"seed\": 7}")
save "$(finished "$job")" cat.png

# 4. Send a file of your own, with the parameters beside it. What needs no model is done at once.
job=$(ask "$server/v1/jobs" --form image=@"$folder/apple.png" \
  --form 'params={"operation": "adjust", "prompt": "rotate it 90 degrees, then make it brighter"}' | value '["id"]')
save "$(finished "$job")" turned.png
