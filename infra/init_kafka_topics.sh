#!/usr/bin/env bash
# Make the topics of infra/kafka/topics.conf, bring the settings of those that exist into line, and check that
# each partition has a leader. Run it as often as you like.
#
#   infra/init_kafka_topics.sh [HOST:PORT]       the default is 127.0.0.1:9092
#
# Kafka's own tools come from $KAFKA_HOME/bin (a distribution, the container image), else from kafka.sh.
# KAFKA_COMMAND_CONFIG names a file of client settings, for a listener with TLS or a password.
# KAFKA_REPLICATION: copies of each partition, 1 unless told; 3 on a cluster.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bootstrap=${1:-127.0.0.1:9092}
replication=${KAFKA_REPLICATION:-1}
attempts=5 # a broker that has just begun to listen may not have a leader yet
as=()
[ -z "${KAFKA_COMMAND_CONFIG:-}" ] || as=(--command-config "$KAFKA_COMMAND_CONFIG")

kafka_topics() {
  if [ -n "${KAFKA_HOME:-}" ]; then
    "$KAFKA_HOME/bin/kafka-topics.sh" --bootstrap-server "$bootstrap" "${as[@]}" "$@"
  else
    "$here/kafka/kafka.sh" topics --bootstrap-server "$bootstrap" "${as[@]}" "$@"
  fi
}

kafka_configs() {
  if [ -n "${KAFKA_HOME:-}" ]; then
    "$KAFKA_HOME/bin/kafka-configs.sh" --bootstrap-server "$bootstrap" "${as[@]}" "$@"
  else
    "$here/kafka/kafka.sh" configs --bootstrap-server "$bootstrap" "${as[@]}" "$@"
  fi
}

describe() {
  local n
  for ((n = 1; n <= attempts; n++)); do
    kafka_topics --describe && return
    sleep "$n"
  done
  echo "init_kafka_topics.sh: no answer from $bootstrap after $attempts attempts" >&2
  return 1
}

wanted() {
  sed -E '/^[[:space:]]*(#|$)/d' "$here/kafka/topics.conf"
}

found=$(describe)
while read -r topic partitions settings <&3; do
  line=$(grep -E "^Topic: ${topic//./\\.}[[:space:]].*PartitionCount" <<<"$found" || true)
  IFS=, read -ra pairs <<<"$settings"
  if [ -z "$line" ]; then
    kafka_topics --create --if-not-exists --topic "$topic" --partitions "$partitions" \
      --replication-factor "$replication" "${pairs[@]/#/--config=}" >/dev/null
    echo "made     $topic: $partitions partitions, $settings"
    continue
  fi
  differs=()
  for pair in "${pairs[@]}"; do
    [[ "$line" =~ [[:space:],]"$pair"(,|[[:space:]]|$) ]] || differs+=("$pair")
  done
  if ((${#differs[@]})); then
    kafka_configs --alter --entity-type topics --entity-name "$topic" \
      --add-config "$(IFS=, && echo "${differs[*]}")" >/dev/null
    echo "changed  $topic: ${differs[*]}"
  fi
done 3< <(wanted)

found=$(describe)
missing=$(wanted | while read -r topic _; do
  grep -qE "^Topic: ${topic//./\\.}[[:space:]]" <<<"$found" || echo "$topic"
done)
leaderless=$(grep -E "Leader: (none|-1)" <<<"$found" || true)
if [ -n "$missing$leaderless" ]; then
  printf 'init_kafka_topics.sh: %s\n' ${missing:+"missing: $missing"} ${leaderless:+"without a leader: $leaderless"} >&2
  exit 1
fi
echo "healthy  $(wanted | wc -l) topics at $bootstrap, a leader for each partition"
