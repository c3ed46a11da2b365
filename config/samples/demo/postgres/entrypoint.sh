#!/bin/bash
# Makes the database cluster on the first start, then becomes the server (process 1, which gets the pod's signals).
#
#   POSTGRES_PASSWORD   password of the superuser `postgres`; needed on the first start
#   /initdb.d/*.sql     run once, as the superuser, after initdb
#   /etc/postgresql/conf.d/*.conf   included at every start and reload
# Arguments are passed on to the server (`-c name=value`).
set -euo pipefail

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  : "${POSTGRES_PASSWORD:?set it to the superuser password of the new database cluster}"
  # A first start that was interrupted left no server that ever ran: begin anew.
  rm -rf "$PGDATA.new"
  initdb --pgdata "$PGDATA.new" --username postgres --pwfile <(printf '%s' "$POSTGRES_PASSWORD") \
    --auth-host scram-sha-256 --auth-local trust --encoding UTF8 --locale C.UTF-8 --data-checksums
  cat >>"$PGDATA.new/postgresql.conf" <<CONF
listen_addresses = '*'
unix_socket_directories = '/run/postgresql'
log_checkpoints = on
include_dir '/etc/postgresql/conf.d'
CONF
  echo 'host all all all scram-sha-256' >>"$PGDATA.new/pg_hba.conf"
  # Without a TCP port: nobody can connect before the roles are there.
  pg_ctl --pgdata "$PGDATA.new" --wait --options "-c listen_addresses=''" start
  for script in /initdb.d/*.sql; do
    [ -e "$script" ] || continue
    psql --host /run/postgresql --username postgres --dbname postgres --no-psqlrc --set ON_ERROR_STOP=1 --single-transaction --file "$script"
  done
  pg_ctl --pgdata "$PGDATA.new" --wait --mode fast stop
  mv "$PGDATA.new" "$PGDATA"
fi
exec postgres -D "$PGDATA" "$@"
