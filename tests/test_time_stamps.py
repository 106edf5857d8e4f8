"""Time stamps of a real authority (OpenSSL), and all that must not be taken for one."""

import copy
import re
import sys
from datetime import UTC, timedelta

import pytest
import rfc3161_client
from asn1crypto import cms, parser, tsp
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st
from rfc3161_client import _rust

from tests.time_stamp_authority import (
    NOW,
    POLICY,
    SHA1,
    TIME_STAMPING,
    YEAR,
    certify,
    common_name,
    forge,
    make_authority,
    needs_openssl,
    new_key,
    openssl,
    openssl_verifies,
    pem,
    pem_of_key,
)
from tfmark.errors import InvalidArgumentError, TimeStampError, UntrustedTimeStampError
from tfmark.time_stamp_order import sort_certificates
from tfmark.time_stamp_tokens import MAX_RESPONSE
from tfmark.time_stamps import (
    check_time_stamp,
    load_certificates,
    read_time_stamp,
    system_certificates,
    time_stamp_request,
)

pytestmark = needs_openssl
SECOND = timedelta(seconds=1)
DOCUMENT = b'{"tfmark": "tfmark commitment 1"}\n'


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return make_authority(tmp_path_factory.mktemp("time") / "stamps")


@pytest.fixture(scope="module")
def stamped(authority):
    return authority.stamp(DOCUMENT)


def refused(response, ca, text, error=TimeStampError, document=DOCUMENT, **options):
    with pytest.raises(error, match=text):
        check_time_stamp(response, document, ca, **options)


def at(time):
    """A change of the time that a stamp says."""

    def change(info, _):
        info["gen_time"] = time

    return change


@pytest.mark.parametrize(
    "options",
    [{}, {"rsa_key": True}, {"digest": "sha384"}, {"digest": "sha512", "ess": "sha1"}],
    ids=["curve", "RSA", "SHA-384", "SHA-512 and a certificate named by SHA-1"],
)
def test_a_stamp_of_a_real_authority_holds_and_says_when(tmp_path, options):
    authority = make_authority(tmp_path / "tsa", name="Zeit & Söhne", **options)
    request, nonce = time_stamp_request(DOCUMENT)
    first, second = authority.reply(request), authority.stamp(DOCUMENT)
    stamp = check_time_stamp(first, DOCUMENT, [authority.root], nonce)
    assert abs(stamp.time - NOW) < timedelta(hours=1)
    assert stamp.time.tzinfo is UTC
    assert (stamp.authority, stamp.policy) == ("Zeit & Söhne", POLICY)
    assert stamp.accuracy == timedelta(seconds=1.5)
    assert check_time_stamp(second, DOCUMENT, [authority.root]).serial == stamp.serial + 1
    assert read_time_stamp(first) == stamp
    assert f"{stamp.time:%Y-%m-%d %H:%M:%S} UTC (± 1.5 s) by Zeit & Söhne" in str(stamp)


def test_a_request_holds_a_hash_and_asks_for_certificates(tmp_path):
    request, nonce = time_stamp_request(DOCUMENT)
    assert DOCUMENT not in request
    assert time_stamp_request(DOCUMENT)[1] != nonce
    (tmp_path / "request.tsq").write_bytes(request)
    told = openssl("ts", "-query", "-in", "request.tsq", "-text", folder=tmp_path).stdout
    assert "Hash Algorithm: sha256" in told
    assert "Certificate required: yes" in told
    (asked,) = re.findall(r"Nonce: (0x[0-9A-Fa-f]+)", told)
    assert int(asked, 16) == nonce  # as a number: OpenSSL writes whole bytes, "0x0F"


def test_certificates_come_from_the_stamp_or_from_the_caller(authority, stamped, tmp_path):
    root, intermediate, signer = authority.root, authority.intermediate, authority.signer
    other = make_authority(tmp_path / "other").root
    for ca in ([root], [root, intermediate], [signer, intermediate, other, root]):
        check_time_stamp(stamped, DOCUMENT, ca)
    (tmp_path / "document").write_bytes(DOCUMENT)
    files = "-data", "document", "-sha512", "-out", "bare.tsq"
    openssl("ts", "-query", *files, folder=tmp_path)  # without -cert: the answer has none
    bare = authority.reply((tmp_path / "bare.tsq").read_bytes())
    assert read_time_stamp(bare).authority == ""
    refused(bare, [root, intermediate], "neither in the time stamp nor", UntrustedTimeStampError)
    stamp = check_time_stamp(bare, DOCUMENT, [signer, intermediate, root])
    assert stamp.authority == common_name(signer)
    refused(bare, [signer, root], "does not chain", UntrustedTimeStampError)


def test_another_root_is_not_trusted_even_of_the_same_name(authority, stamped, tmp_path):
    same_name = make_authority(tmp_path / "same")
    assert same_name.root.subject == authority.root.subject
    other = make_authority(tmp_path / "other", "Somebody else")
    for ca, why in (
        ([same_name.root], "unable to get local issuer certificate"),
        ([other.root, other.intermediate], "unable to get local issuer certificate"),
        ([*system_certificates(), other.root], "unable to get local issuer certificate"),
        ([authority.intermediate, other.root], "unable to get issuer certificate"),
    ):
        refused(stamped, ca, rf"does not chain .*\({why}\)", UntrustedTimeStampError)
    refused(stamped, [authority.intermediate], "Expected a root", UntrustedTimeStampError)
    refused(stamped, [], "Expected a root", UntrustedTimeStampError)


def test_nobody_vouches_for_what_comes_with_the_stamp(authority, stamped, tmp_path):
    other = make_authority(tmp_path / "other", "Somebody else")
    alone = certify("Myself", authority.key, authority.key, None, extensions=[TIME_STAMPING])
    liar = certify(
        common_name(authority.signer), authority.key, new_key(), authority.intermediate,
        extensions=[TIME_STAMPING], ca=False,
    )  # fmt: skip
    own_root = authority.signer, authority.intermediate, authority.root
    for signer, chain, trusted, why in (
        (alone, (alone,), authority.root, "self-signed certificate"),
        (None, own_root, other.root, "self-signed certificate in certificate chain"),
        (liar, (liar, authority.intermediate), authority.root, "certificate signature failure"),
    ):
        response = forge(stamped, authority.key, signer, certificates=chain)
        refused(response, [trusted], rf"does not chain .*\({why}\)", UntrustedTimeStampError)
        refused(response, [trusted], "another document", document=b"another")


def test_a_stamp_outlives_the_certificates(tmp_path):
    times = NOW - 3 * YEAR, NOW - YEAR
    authority = make_authority(tmp_path / "tsa", valid=times)
    late, middle = authority.stamp(DOCUMENT), NOW - 2 * YEAR
    refused(late, [authority.root], "certificate has expired")
    old = forge(late, authority.key, change=at(middle))
    assert openssl_verifies(old, DOCUMENT, pem(authority.root), tmp_path, middle)
    for time in (middle, times[0], times[1] - SECOND):
        old = forge(late, authority.key, change=at(time))
        assert check_time_stamp(old, DOCUMENT, [authority.root]).time == time
    for time, why in ((times[0] - SECOND, "not yet valid"), (times[1], "has expired")):
        refused(forge(late, authority.key, change=at(time)), [authority.root], why)


@pytest.mark.parametrize("which", ["root", "intermediate"])
def test_the_whole_chain_was_valid_at_the_time(authority, stamped, which):
    past = NOW - 2 * YEAR, NOW - YEAR / 2
    root, intermediate = authority.root, authority.intermediate
    if which == "root":
        root = certify(common_name(root), authority.root_key, authority.root_key, None, past)
    else:
        intermediate = certify(
            common_name(intermediate), authority.intermediate_key, authority.root_key, root, past
        )
    chain = authority.signer, intermediate
    now = forge(stamped, authority.key, certificates=chain)
    refused(now, [root], "does not hold.*certificate has expired")
    then = forge(stamped, authority.key, certificates=chain, change=at(NOW - YEAR * 3 / 4))
    check_time_stamp(then, DOCUMENT, [root])


def usage(*purposes, critical=True):
    return x509.ExtendedKeyUsage(purposes), critical


STAMPS, SERVERS = ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.SERVER_AUTH
FOR_SERVERS = {"extensions": [usage(SERVERS)]}
SIGNS_NOTHING = x509.KeyUsage(*[False] * 2, True, *[False] * 6), True


@pytest.mark.parametrize(
    "extensions",
    [
        [],
        [usage(SERVERS)],
        [usage(STAMPS, critical=False)],
        [usage(STAMPS, SERVERS)],
        [usage(STAMPS), SIGNS_NOTHING],
    ],
    ids=["none", "servers", "not critical", "servers too", "key not for signatures"],
)
def test_a_certificate_for_something_else_signs_no_time(authority, stamped, extensions, tmp_path):
    signer = authority.issue(*extensions)
    response = forge(stamped, authority.key, signer)
    refused(response, [authority.root], "unsuitable certificate purpose|is for something else")
    ca = pem(authority.root)
    assert not openssl_verifies(response, DOCUMENT, ca, tmp_path, NOW)
    good = forge(stamped, authority.key, authority.issue(TIME_STAMPING))
    check_time_stamp(good, DOCUMENT, [authority.root])
    assert openssl_verifies(good, DOCUMENT, ca, tmp_path, NOW)


@pytest.mark.parametrize(
    "options",
    [
        {"ca": False},
        {"ca": None},
        {"extensions": [SIGNS_NOTHING]},
        FOR_SERVERS,
        {"extensions": [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"!"), True)]},
    ],
    ids=["no CA", "perhaps a CA", "signs nothing", "for servers", "unknown critical extension"],
)
def test_an_issuer_must_be_a_ca_for_this(authority, stamped, options, tmp_path):
    issuer = certify(
        common_name(authority.intermediate), authority.intermediate_key, authority.root_key,
        authority.root, **options,
    )  # fmt: skip
    response = forge(stamped, authority.key, certificates=(authority.signer, issuer))
    refused(response, [authority.root], "invalid CA|for something else|unhandled critical")
    if options != FOR_SERVERS:  # OpenSSL looks at the purpose of the last certificate alone
        assert not openssl_verifies(response, DOCUMENT, pem(authority.root), tmp_path, NOW)


def test_a_customer_of_the_ca_is_no_authority(authority, stamped):
    key = new_key()
    customer = certify("www.example.org", key, authority.key, authority.signer, ca=False,
                       extensions=[TIME_STAMPING])  # fmt: skip
    chain = customer, authority.signer, authority.intermediate
    response = forge(stamped, key, customer, certificates=chain)
    refused(response, [authority.root], "invalid CA certificate")


def test_other_documents_and_other_requests_are_told(authority, stamped):
    ca = [authority.root]
    refused(stamped, ca, "another document", document=DOCUMENT + b"\n")
    request, nonce = time_stamp_request(DOCUMENT)
    refused(authority.reply(request), ca, "Nonce mismatch", nonce=nonce + 1)
    unasked = forge(stamped, authority.key, change=lambda info, _: info.__delitem__("nonce"))
    check_time_stamp(unasked, DOCUMENT, ca)
    refused(unasked, ca, "Nonce mismatch", nonce=0)


def test_a_refusal_says_why(authority, tmp_path):
    (tmp_path / "document").write_bytes(DOCUMENT)
    files = "-data", "document", "-sha1", "-out", "weak.tsq"
    openssl("ts", "-query", *files, folder=tmp_path)
    weak = (tmp_path / "weak.tsq").read_bytes()
    for request, why in (weak, "digest algorithm"), (b"?", "Bad request format"):
        answer = authority.reply(request)
        refused(answer, [authority.root], f"refused to stamp .rejection, .*{why}")
        with pytest.raises(TimeStampError, match="refused to stamp"):
            read_time_stamp(answer)
    waiting = tsp.PKIStatusInfo({"status": "waiting", "status_string": ["\x1b[2Jlater\n"]})
    refused(b"\x30" + bytes([len(waiting.dump())]) + waiting.dump(), [], r"waiting,  \[2Jlater ")


def test_sha1_is_refused_wherever_it_signs(authority, stamped, tmp_path):
    ca = [authority.root]
    signed = forge(stamped, authority.key, digest="sha1")
    refused(signed, ca, f"Received: {SHA1}")
    for listed in ["sha256"], []:  # as if it were signed with another hash
        parsed = tsp.TimeStampResp.load(signed)
        algorithms = [{"algorithm": name} for name in listed]
        parsed["time_stamp_token"]["content"]["digest_algorithms"] = algorithms
        refused(parsed.dump(), ca, "signature failure")

    def weak(info, _):
        info["message_imprint"] = {"hash_algorithm": {"algorithm": "sha1"}, "hashed_message": b""}

    refused(forge(stamped, authority.key, change=weak), ca, f"Received: {SHA1}")
    (tmp_path / "inter.key").write_bytes(pem_of_key(authority.intermediate_key))
    (tmp_path / "root.key").write_bytes(pem_of_key(authority.root_key))
    (tmp_path / "ca.cnf").write_text("basicConstraints = critical, CA:TRUE")
    name = f"/CN={common_name(authority.intermediate)}"
    openssl("req", "-new", "-key", "inter.key", "-subj", name, "-out", "csr.pem", folder=tmp_path)
    issue = "-CA", authority.ca_file, "-CAkey", "root.key", "-extfile", "ca.cnf", "-out", "weak.pem"
    for digest in ("-sha1", "-sha256"):
        openssl("x509", "-req", "-in", "csr.pem", digest, *issue, folder=tmp_path)
        (issuer,) = load_certificates(tmp_path / "weak.pem")
        chain = authority.signer, issuer
        later = at(NOW + timedelta(days=1))
        response = forge(stamped, authority.key, certificates=chain, change=later)
        if digest == "-sha1":
            refused(response, ca, "too weak")
    check_time_stamp(response, DOCUMENT, ca)


def test_a_key_that_can_be_broken_signs_no_time(authority, stamped):
    for size in 1024, 2048:
        key = rsa.generate_private_key(65537, size)
        signer = certify("Old Times", key, authority.intermediate_key, authority.intermediate,
                         extensions=[TIME_STAMPING], ca=False)  # fmt: skip
        response = forge(stamped, key, signer)
        if size == 1024:
            refused(response, [authority.root], "too weak")
    assert check_time_stamp(response, DOCUMENT, [authority.root]).authority == "Old Times"


def test_another_key_cannot_sign_in_the_authoritys_name(authority, stamped, tmp_path):
    for key in new_key(), make_authority(tmp_path / "rsa", rsa_key=True).key:
        refused(forge(stamped, key), [authority.root], "signature failure")


def test_the_certificate_that_is_shown_is_the_one_that_signed(authority, stamped):
    twin = certify("Somebody else", authority.key, authority.intermediate_key,
                   authority.intermediate, extensions=[TIME_STAMPING], ca=False,
                   serial=authority.signer.serial_number)  # fmt: skip
    chain = authority.signer, authority.intermediate
    both = forge(stamped, authority.key, certificates=(twin, *chain))
    refused(both, [authority.root], "Two certificates")
    assert read_time_stamp(both).authority == ""
    refused(stamped, [authority.root, twin], "Two certificates")
    twice = forge(stamped, authority.key, certificates=(authority.signer, *chain))
    check_time_stamp(twice, DOCUMENT, [authority.root, authority.signer])


def test_one_signer_alone(authority, stamped):
    def signers(count):
        def change(_, data):
            one = data["signer_infos"][0]
            data["signer_infos"] = cms.SignerInfos([copy.deepcopy(one) for _ in range(count)])

        parsed = tsp.TimeStampResp.load(stamped)
        change(None, parsed["time_stamp_token"]["content"])
        return parsed.dump()

    refused(signers(2), [authority.root], "Expected one signer of a time stamp. Received: 2")
    refused(signers(0), [authority.root], "Expected one signer of a time stamp. Received: 0")
    check_time_stamp(signers(1), DOCUMENT, [authority.root])


def test_a_signature_over_something_else_is_no_time_stamp(authority, stamped):
    mixed = tsp.TimeStampResp.load(stamped)
    later = tsp.TimeStampResp.load(authority.stamp(b"another document"))
    content = "time_stamp_token", "content", "encap_content_info"
    mixed[content[0]][content[1]][content[2]] = later[content[0]][content[1]][content[2]]
    refused(mixed.dump(), [authority.root], "signature failure", document=b"another document")


def test_garbage_is_refused_in_bounds(authority, stamped):
    ca = [authority.root]
    for length in range(len(stamped)):
        refused(stamped[:length], ca, "no time stamp")
    refused(stamped + b"\0", ca, "no time stamp")
    refused(stamped * 2, ca, "no time stamp")
    refused(bytes(MAX_RESPONSE + 1), ca, f"at most {MAX_RESPONSE} bytes")
    half, nested = MAX_RESPONSE // 2, b""
    for _ in range(9000):
        nested = parser.emit(0, 1, 16, nested)
    for bomb in (b"\x30\x80" * half, b"\x30\x00" * half, nested, b"\xa0" * MAX_RESPONSE):
        refused(bomb, ca, "no time stamp")


def test_certificates_in_the_order_of_the_chain_are_sorted(authority, stamped):
    with pytest.raises(ValueError, match="InvalidSetOrdering"):
        rfc3161_client.decode_timestamp_response(stamped)
    ordered = sort_certificates(stamped)
    assert (sorted(ordered), ordered != stamped) == (sorted(stamped), True)
    assert sort_certificates(ordered) == ordered
    stamp = check_time_stamp(ordered, DOCUMENT, [authority.root])
    assert check_time_stamp(stamped, DOCUMENT, [authority.root]) == stamp


def test_a_panic_of_the_library_is_an_error(stamped, monkeypatch, capfd):
    token = rfc3161_client.decode_timestamp_response(sort_certificates(stamped)).time_stamp_token()
    monkeypatch.setattr(
        rfc3161_client, "decode_timestamp_response",
        lambda _: _rust.verify.pkcs7_verify(token, NOW, [b"no certificate"]),
    )  # fmt: skip
    with pytest.raises(TimeStampError, match="PanicException"):
        read_time_stamp(stamped)
    assert "panicked" in capfd.readouterr().err
    monkeypatch.setattr(rfc3161_client, "decode_timestamp_response", lambda _: sys.exit(3))
    with pytest.raises(SystemExit):
        read_time_stamp(stamped)


def says_the_same_or_nothing(changed, authority, stamped):
    # What is not signed may change, such as the wording of a status; what is said may not.
    try:
        stamp = check_time_stamp(changed, DOCUMENT, [authority.root])
    except TimeStampError:
        return
    assert stamp == check_time_stamp(stamped, DOCUMENT, [authority.root])
    refused(changed, [authority.root], "another document", document=b"another document")


def test_no_flipped_bit_is_taken_for_another_stamp(authority, stamped):
    for position in range(len(stamped)):
        changed = bytearray(stamped)
        changed[position] ^= 1 << position % 8
        says_the_same_or_nothing(bytes(changed), authority, stamped)


@settings(max_examples=100, deadline=None)
@given(st.integers(0), st.integers(0, 4), st.binary(max_size=4))
def test_no_changed_bytes_are_taken_for_another_stamp(authority, stamped, start, length, some):
    start %= len(stamped)
    changed = stamped[:start] + some + stamped[start + length :]
    says_the_same_or_nothing(changed, authority, stamped)


@given(st.binary(max_size=200))
def test_no_bytes_are_taken_for_a_stamp(data):
    with pytest.raises(TimeStampError):
        read_time_stamp(data)


def test_files_of_certificates(authority, tmp_path):
    bundle = tmp_path / "bundle.pem"
    both = authority.root, authority.intermediate
    bundle.write_bytes(b"# roots\n" + pem(*both))
    assert load_certificates(bundle) == both
    for text in (b"", b"hello", pem_of_key(authority.key), pem(authority.root)[:-40]):
        bundle.write_bytes(text)
        with pytest.raises(InvalidArgumentError, match="bundle.pem"):
            load_certificates(bundle)
    bundle.write_bytes(bytes((1 << 22) + 1))
    with pytest.raises(InvalidArgumentError, match="at most 4 MiB"):
        load_certificates(bundle)


def test_the_systems_certificates_in_a_file_or_a_folder(authority, tmp_path, monkeypatch):
    folder = tmp_path / "certs"
    folder.mkdir()
    (folder / "0123abcd.0").write_bytes(pem(authority.root))
    (folder / "README").write_text("no certificate")
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    assert system_certificates() == (authority.root,)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    assert system_certificates() == (authority.root,)
