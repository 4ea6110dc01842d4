"""Makes and reads authorities, certificates and keys, in PEM.

Rules of this file:

- Keys are of the curve P-256. Every authority has a name of its own, so that two of them in one bundle are told apart.
- What is made holds from an hour before: clocks of nodes differ.
- What cannot be read is None; the reason is of no use to whoever then makes it anew.

Source: RFC 5280; cryptography's x509.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from argosy.base.certificate import Certificate

CLOCKS_DIFFER_S: Final = 3600.0
_UNREADABLE: Final = (ValueError, TypeError, UnsupportedAlgorithm)


class KeyPair(NamedTuple):
    """A certificate and its private key, PEM."""

    certificate: bytes
    key: bytes


def make_authority(*, now_s: float, life_s: float) -> KeyPair:
    """Make an authority that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"argosy {x509.random_serial_number() % 16**8:08x}")
    builder = (
        _builder(name, name, key, now_s=now_s, life_s=life_s)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
    )
    return _pair(builder.sign(key, hashes.SHA256()), key)


def issue(authority: KeyPair, names: Sequence[str], *, now_s: float, life_s: float) -> KeyPair:
    """Issue a certificate for a server of these DNS names. Raises ValueError for an authority that cannot be read."""
    signer, signer_key = _certificate(authority.certificate), _key(authority.key)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(_name(names[0]), signer.subject, key, now_s=now_s, life_s=life_s)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer_key.public_key()), critical=False)
    )
    return _pair(builder.sign(signer_key, hashes.SHA256()), key)


def read_authority(pair: KeyPair) -> Certificate | None:
    """Read an authority, the first of a bundle; None unless it can sign."""
    try:
        found, key = _certificate(pair.certificate), _key(pair.key)
    except _UNREADABLE:
        return None
    return _read(found) if found.public_key() == key.public_key() else None


def read_certificate(pair: KeyPair, *, authority: bytes) -> Certificate | None:
    """Read a certificate; None unless the key is its own and the authority, the first of a bundle, has signed it."""
    try:
        found, key, signer = _certificate(pair.certificate), _key(pair.key), _certificate(authority)
        found.verify_directly_issued_by(signer)
    except (*_UNREADABLE, InvalidSignature):
        return None
    return _read(found) if found.public_key() == key.public_key() else None


def bundle(authority: bytes, older: bytes, *, now_s: float) -> bytes:
    """Give a bundle that begins with the authority and goes on with the older ones that still hold."""
    try:
        known = x509.load_pem_x509_certificates(older)
    except ValueError:
        known = []
    first = _certificate(authority)
    kept = [each for each in known if each != first and each.not_valid_after_utc.timestamp() > now_s]
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in (first, *kept))


def _certificate(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def _key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not a key of an elliptic curve")  # noqa: TRY004 (one kind of error for what cannot be read)
    return key


def _read(found: x509.Certificate) -> Certificate:
    names: tuple[str, ...] = ()
    try:
        extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = tuple(extension.value.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        pass
    return Certificate(
        names=names, begins_s=found.not_valid_before_utc.timestamp(), ends_s=found.not_valid_after_utc.timestamp()
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, now_s: float, life_s: float
) -> x509.CertificateBuilder:
    begins = dt.datetime.fromtimestamp(now_s - CLOCKS_DIFFER_S, dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(dt.datetime.fromtimestamp(now_s + life_s, dt.UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> KeyPair:
    return KeyPair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
