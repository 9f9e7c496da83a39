"""Shards on an S3-compatible store: a real server process on loopback, reached by s3fs
over HTTP.
"""

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from sqlalchemy import Engine

from services.vectors.shard_checks import check_shards
from services.vectors.shard_compaction import compact
from services.vectors.shard_files import blank_vectors, remove_files, remove_leftovers, sweep
from store.engine import reading, transaction
from store.ledger.erasure import erase_decision
from store.shards.shard_storage import end_uploads, files_under
from store.shards.shards import (
    RowReader,
    ShardRefused,
    blank_rows,
    read_rows,
    remove_shard,
    shard_ids,
    verify_shard,
    write_shard,
)
from store.traffic.vectors import hold_files, shards
from tests import servers
from tests.vector_cast import FINGERPRINT, apply_trivia, check_readable, push

pytestmark = pytest.mark.xdist_group("s3")
GRACE = timedelta(hours=24)
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running server; this process's S3 clients know it the way a deployment's are."""
    import s3fs

    url = f"http://127.0.0.1:{(port := servers.free_port())}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    log = tmp_path_factory.mktemp("s3") / "server.log"
    before = dict(os.environ)
    with servers.running(command, environment={}, log=log) as process:
        servers.wait_until_answering(f"{url}/moto-api/", process, within_s=60)
        os.environ.update(KEYS, AWS_ENDPOINT_URL=url)
        s3fs.S3FileSystem.clear_instance_cache()
        yield url
        s3fs.S3FileSystem.clear_instance_cache()
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def base(endpoint: str) -> str:
    """A place in a bucket of this test's own."""
    import s3fs

    bucket = f"kg-{uuid4().hex}"
    s3fs.S3FileSystem().mkdir(bucket)
    return f"s3://{bucket}/prefix/shards"


def vectors(n: int, d: int = 6, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float16)


def bytes_under(base: str) -> bytes:
    from fsspec.core import url_to_fs

    filesystem, path = url_to_fs(base, use_listings_cache=False)
    return b"".join(filesystem.cat_file(found) for found in filesystem.find(path))


@pytest.mark.slow
def test_a_shard_goes_out_whole_and_its_rows_come_back_by_ranges(base: str) -> None:
    ids = [str(row) for row in range(200)]
    shard = write_shard(base, vectors(200), ids, fingerprint=FINGERPRINT)
    assert write_shard(base, vectors(200), ids, fingerprint=FINGERPRINT) == shard
    wanted = [199, 0, 7, 7, 150]
    np.testing.assert_array_equal(read_rows(shard.url, wanted, fingerprint=FINGERPRINT), vectors(200)[wanted])
    assert shard_ids(shard.url) == tuple(ids)
    assert verify_shard(shard.url, shard.sha256) and not verify_shard(shard.url, "0" * 64)
    assert [file.url for file in files_under(base)] == [shard.url]
    assert not read_rows(blank_rows(shard.url, {3: shard.row_sha256[3]}).url, [3]).any()
    remove_shard(shard.url)
    remove_shard(shard.url)
    assert not verify_shard(shard.url, shard.sha256)
    with pytest.raises(ShardRefused, match="does not exist"):
        read_rows(shard.url.replace(shard.sha256, "0" * 64), [0])


def test_a_reader_streams_over_several_shards(base: str) -> None:
    table = vectors(90, 3000)
    written = [write_shard(base, table[at : at + 30], [str(row) for row in range(30)]) for at in (0, 30, 60)]
    urls = [shard.url for shard in written for _ in range(30)]
    hashes = [sha256 for shard in written for sha256 in shard.row_sha256]
    reader = RowReader(urls, list(range(30)) * 3, sha256=hashes)
    order = np.random.default_rng(1).permutation(90)
    np.testing.assert_array_equal(reader.read(order), table[order])
    np.testing.assert_array_equal(np.concatenate([block.hidden for block in reader.blocks(16)]), table)


@pytest.mark.slow
def test_a_large_shard_in_many_parts_is_there_whole(base: str) -> None:
    table = np.broadcast_to(vectors(1, 1 << 16), (850, 1 << 16))  # above 100 MiB, which s3fs sends in parts
    shard = write_shard(base, table, [str(row) for row in range(850)])
    np.testing.assert_array_equal(read_rows(shard.url, [849]), table[:1])
    assert end_uploads(base, before=datetime.now(UTC) + timedelta(days=1)) == 0, "the upload has ended"


def test_pushed_merged_erased_and_swept(engine: Engine, base: str) -> None:
    apply_trivia(engine)
    now = datetime.now(UTC)
    pushed = [one for seed in range(4) for one in push(engine, base, 5, seed=seed, at=now)]
    assert compact(engine, base, shard_bytes=1 << 20, now=now).written == 1
    check_readable(engine, pushed)
    assert check_shards(engine).problems == ()
    gone, kept = pushed[7], pushed[:7] + pushed[8:]
    with transaction(engine) as session:
        hold_files(session, alone=True)
        old = blank_vectors(session, erase_decision(session, gone.id, by="ada", now=now).vectors)
        remove_leftovers(session, base, gone.id, now=now, spare=old)
    remove_files(old)
    assert gone.values.tobytes() not in bytes_under(base)
    check_readable(engine, kept)
    assert sweep(engine, base, now=now, grace=GRACE).superseded == 0
    assert sweep(engine, base, now=now + 2 * GRACE, grace=GRACE).superseded == 3
    with reading(engine) as session:
        assert [file.url for file in files_under(base)] == [shard.url for shard in shards(session)]
    check_readable(engine, kept)


def test_an_upload_that_never_ended_is_ended(engine: Engine, base: str) -> None:
    import s3fs

    apply_trivia(engine)
    filesystem = s3fs.S3FileSystem(use_listings_cache=False)
    bucket, _, prefix = base.removeprefix("s3://").partition("/")
    for key in (f"{prefix}/ab/{'a' * 64}.safetensors", "elsewhere/x"):
        upload = filesystem.call_s3("create_multipart_upload", Bucket=bucket, Key=key)
        filesystem.call_s3(
            "upload_part", Bucket=bucket, Key=key, UploadId=upload["UploadId"], PartNumber=1, Body=b"personal"
        )
    assert end_uploads(base, before=datetime(2001, 1, 1, tzinfo=UTC)) == 0, "younger ones may still be under way"
    assert sweep(engine, base, now=datetime.now(UTC) + 2 * GRACE, grace=GRACE).unfinished == 1
    assert [upload["Key"] for upload in filesystem.list_multipart_uploads(bucket)] == ["elsewhere/x"]


def test_a_bucket_that_there_is_not_is_told_with_what_to_check(base: str) -> None:
    with pytest.raises(ShardRefused, match=r"s3://no-such-bucket/.*(does not exist|check KNOWGATE_SHARDS_URL)"):
        write_shard("s3://no-such-bucket/x", vectors(2), ["a", "b"])


def test_a_damaged_object_is_refused(base: str, tmp_path: Path) -> None:
    from fsspec.core import url_to_fs

    shard = write_shard(base, vectors(20), [str(row) for row in range(20)])
    filesystem, path = url_to_fs(shard.url)
    content = filesystem.cat_file(path)
    for bad, fault in ((content[:-1], "cut off"), (b"PK" * 50, "not a safetensors"), (b"", "not a safetensors")):
        url = f"{base}/ab/{uuid4().hex * 2}.safetensors"
        filesystem.pipe_file(url, bad)
        with pytest.raises(ShardRefused, match=fault):
            read_rows(url, [0])
