# Sourced by gcp_setup.sh and storage_config.sh: options, and gcloud calls that can be shown instead of made.
# shellcheck shell=bash disable=SC2034 # its variables are read by who sources it

project=
dry_run=
centre=pm-centre       # service account of the centre
inference=pm-inference # service account of the inference service

say() { printf '%s\n' "$*" >&2; }

fail() {
  say "${BASH_SOURCE[-1]##*/}: $*"
  exit 2
}

# Each option sets the variable of its name; a script that lacks one lacks its variable.
parse_options() {
  while (($#)); do
    case $1 in
      --dry-run) dry_run=1 ;;
      --help) usage && exit 0 ;;
      --project | --region | --image | --retention-days)
        local name=${1#--}
        name=${name//-/_}
        [ -n "${!name+set}" ] || fail "$1 is no option here; --help lists them"
        (($# > 1)) || fail "$1 wants a value"
        printf -v "$name" '%s' "$2"
        shift
        ;;
      *) fail "$1 is no option; --help lists them" ;;
    esac
    shift
  done
}

usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[-1]}"; }

require_project() {
  [[ $project =~ ^[a-z][a-z0-9-]{4,28}[a-z0-9]$ ]] || fail "--project: found '$project'; expected a project id, for example my-project-1"
  [ -n "$dry_run" ] || command -v gcloud >/dev/null ||
    fail "gcloud is not here: install the Google Cloud CLI, or look first with --dry-run"
}

# Whether something is there; in a dry run nothing is asked and nothing is there.
present() { [ -z "$dry_run" ] && gcloud "$@" --project="$project" --quiet >/dev/null 2>&1; }

# A call that changes something: made, or shown.
change() {
  if [ -n "$dry_run" ]; then
    printf 'gcloud'
    printf ' %q' "$@" "--project=$project" --quiet
    printf '\n'
  else
    say "gcloud $*"
    gcloud "$@" --project="$project" --quiet >/dev/null
  fi
}

account() { printf 'serviceAccount:%s@%s.iam.gserviceaccount.com' "$1" "$project"; }

service_account() { # NAME DESCRIPTION
  present iam service-accounts describe "$1@$project.iam.gserviceaccount.com" ||
    change iam service-accounts create "$1" --display-name="$2"
}
