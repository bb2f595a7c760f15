"""`edge-agent certificate`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from shared.errors import ConfigError
from shared.opcua_certificates import der, described

DAYS = 365  # OPC UA servers warn of longer ones; renew before
DAYS_MAX = 3650


def certificate(
    folder: Annotated[Path, typer.Argument(help="where NAME.der and NAME-key.pem are written")],
    name: Annotated[str, typer.Option(help="of the application, for example agent or plant")] = "agent",
    host: Annotated[
        list[str] | None, typer.Option(help="host name that servers or clients know it by")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=DAYS_MAX, help="until it expires")] = DAYS,
) -> None:
    """Make a self-signed certificate with its key, as OPC UA wants them, and print its fingerprint.

    The key can be read by its owner alone. Nothing is overwritten: move the old files away to renew them.

    Example: edge-agent certificate certificates --name agent
    """
    from asyncua.crypto import cert_gen  # slow to load
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    files = {kind: folder / f"{name}{ending}" for kind, ending in (("made", ".der"), ("key", "-key.pem"))}
    if existing := [str(path) for path in files.values() if path.exists()]:
        raise ConfigError(
            "certificate", [f"{path} exists; move it away or choose another --name" for path in existing]
        )
    key = cert_gen.generate_private_key()
    uri = f"urn:pm-stack-smr:{name}"
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)]
    names += [x509.DNSName(each) for each in host or ["localhost"]]
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    made = cert_gen.generate_self_signed_app_certificate(key, name, {}, names, uses, days)
    folder.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(files["key"], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(cert_gen.dump_private_key_as_pem(key))
    files["made"].write_bytes(der(made))
    until = f"{made.not_valid_after_utc:%Y-%m-%d}"
    print(f"{files['made']}: {described(made)}, application URI {uri}, until {until}")
    print(f"{files['key']}: its key; keep it on this machine")
