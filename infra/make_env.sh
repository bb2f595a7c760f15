#!/usr/bin/env bash
# Make the secrets of infra/docker-compose.yml, each once, in infra/.env: `make env`. What stands there already stays.
set -euo pipefail
cd "$(dirname "$0")"
umask 077
touch .env

for name in INFLUXDB_TOKEN PM_INFLUXDB_PASSWORD PM_POSTGRES_PASSWORD PM_GRAFANA_PASSWORD PM_MQTT_PASSWORD; do
  grep -q "^$name=." .env && continue
  echo "$name=$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')" >>.env
  echo "infra/.env: made $name"
done
