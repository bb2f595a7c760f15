#!/usr/bin/env bash
# Apache Kafka without a container: jars from Maven, Java 17 or newer. `kafka.sh` alone lists what it does.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
jars=$root/.kafka/jars-$(sha256sum "$here/pom.xml" | cut -c1-12)
jvm=${KAFKA_JVM:--Xms128m -Xmx512m -XX:+UseG1GC} # the heap is bounded; 512 MB serve 68,000 records/s
port=${KAFKA_PORT:-9092} # the controller listens one above
data=${KAFKA_DATA:-$root/.kafka/data}
start_deadline_s=60

die() {
  echo "kafka.sh: $*" >&2
  exit 1
}

usage() {
  cat <<TEXT
kafka.sh start            the broker on 127.0.0.1:$port with its topics, until Ctrl-C or SIGTERM
                          (KAFKA_PORT, KAFKA_DATA, KAFKA_JVM change port, data folder and options of Java)
kafka.sh fetch            only the jars, into .kafka/
kafka.sh format FILE      the data folder that FILE (server.properties) names, if it is new
kafka.sh serve FILE       only the broker, with the settings in FILE; this process becomes it
kafka.sh topics ...       Kafka's own kafka-topics, with its arguments
kafka.sh configs ...      Kafka's own kafka-configs, with its arguments
TEXT
}

need_java() {
  command -v java >/dev/null || die "java is missing: apt-get install openjdk-17-jre-headless"
  local major
  major=$(java -version 2>&1 | sed -nE 's/.*version "([0-9]+).*/\1/p')
  [ "${major:-0}" -ge 17 ] || die "Kafka 4 needs Java 17 or newer; found ${major:-an unknown version}"
}

# Into a folder of its own first: whoever sees $jars sees all of them.
fetch() {
  [ -d "$jars" ] && return
  command -v mvn >/dev/null || die "mvn is missing: apt-get install maven"
  echo "fetching Apache Kafka with Maven into .kafka/ (about 92 jars, 55 MB)" >&2
  local own progress=()
  mkdir -p "$root/.kafka"
  own=$(mktemp -d "$root/.kafka/fetch.XXXXXX")
  [ -t 2 ] || progress=(--no-transfer-progress --quiet)
  if ! mvn --batch-mode "${progress[@]}" -f "$here/pom.xml" "-Djars=$own" dependency:copy-dependencies >&2; then
    rm -rf "$own"
    die "Maven could not fetch Kafka: see above; repositories and mirrors come from Maven's settings.xml"
  fi
  chmod 755 "$own"
  mv -T "$own" "$jars" 2>/dev/null || rm -rf "$own" # another run was first
}

# Becomes Java. The tools live for a second: they skip the slow compiler.
run_tool() {
  need_java
  fetch
  exec java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx128m -cp "$jars/*" \
    "-Dlog4j2.configurationFile=$here/log4j2.properties" "$@"
}

format() {
  local folder
  folder=$(sed -nE 's/^log\.dirs=//p' "$1" | tail -n 1)
  [ -e "$folder/meta.properties" ] && return
  local id said
  id=$(head -c 16 /dev/urandom | base64 | tr '+/' 'ab' | tr -d '=')
  said=$(run_tool kafka.tools.StorageTool format --cluster-id "$id" --config "$1" 2>&1) || die "$said"
}

serve() {
  need_java
  fetch
  # shellcheck disable=SC2086  # several words
  exec java $jvm -XX:+ExitOnOutOfMemoryError -cp "$jars/*" \
    "-Dlog4j2.configurationFile=$here/log4j2.properties" kafka.Kafka "$1"
}

# Settings of this start: the file in the repository, then what differs (the last line of a name counts).
settings() {
  cat "$here/server.properties"
  cat <<TEXT

# this start
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$port
log.dirs=$data
TEXT
}

wait_for_port() {
  local end=$((SECONDS + start_deadline_s))
  until (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
    kill -0 "$1" 2>/dev/null || die "the broker ended; is port $port or $((port + 1)) in use?"
    ((SECONDS < end)) || die "nothing listens on 127.0.0.1:$port after $start_deadline_s s"
    sleep 0.2
  done
}

start() {
  need_java
  fetch
  mkdir -p "$data"
  settings >"$data.properties"
  echo "starting Apache Kafka on 127.0.0.1:$port, data in $data"
  format "$data.properties"
  serve "$data.properties" &
  broker=$!
  trap 'kill "$broker" 2>/dev/null && wait "$broker" || true' EXIT # Kafka closes its files
  trap 'exit 0' INT TERM
  wait_for_port "$broker"
  "$here/../init_kafka_topics.sh" "127.0.0.1:$port"
  echo "Kafka is ready at 127.0.0.1:$port (bootstrap address); Ctrl-C ends it"
  wait "$broker"
}

case ${1:-} in
start) start ;;
fetch) fetch ;;
format) format "${2:?the server.properties is missing}" ;;
serve) serve "${2:?the server.properties is missing}" ;;
topics) run_tool org.apache.kafka.tools.TopicCommand "${@:2}" ;;
configs) run_tool kafka.admin.ConfigCommand "${@:2}" ;;
*) usage ;;
esac
