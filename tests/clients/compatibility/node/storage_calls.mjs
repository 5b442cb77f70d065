// Calls of Node's client of Cloud Storage, as its own samples make them: each is a test, and prints PASS or FAIL.
// Where the emulator is says the environment of `serin emulate env`.

import assert from 'node:assert';
import {randomBytes} from 'node:crypto';
import {readFile, writeFile} from 'node:fs/promises';
import {pipeline} from 'node:stream/promises';
import {Readable} from 'node:stream';
import {setTimeout} from 'node:timers/promises';

// The packages stand beside the working directory, not beside this file.
const {createRequire} = await import('node:module');
const {Storage, TransferManager} = createRequire(`${process.cwd()}/`)('@google-cloud/storage');

const SECONDS = 40;
const storage = new Storage({projectId: process.env.GOOGLE_CLOUD_PROJECT});
const bucket = storage.bucket('node-calls');
const file = bucket.file('a.txt');
const large = randomBytes(3_000_000);

async function refused(code, promise) {
  await assert.rejects(promise, error => {
    assert.equal(error.code, code, error.message);
    return true;
  });
}

const calls = {
  bucket_create: () => storage.createBucket('node-calls', {location: 'US-CENTRAL1'}),
  bucket_create_twice_is_refused: () => refused(409, storage.createBucket('node-calls')),
  bucket_exists: async () => assert.deepEqual(await bucket.exists(), [true]),
  bucket_metadata: async () => assert.equal((await bucket.getMetadata())[0].location, 'US-CENTRAL1'),
  bucket_set_labels: async () => {
    await bucket.setLabels({team: 'churn'});
    assert.deepEqual(await bucket.getLabels(), [{team: 'churn'}]);
  },
  bucket_set_storage_class: () => bucket.setStorageClass('nearline'),
  bucket_lifecycle: () => bucket.addLifecycleRule({action: {type: 'Delete'}, condition: {age: 30}}),
  buckets_list: async () => assert.ok((await storage.getBuckets())[0].some(one => one.name === 'node-calls')),
  bucket_iam: async () => {
    const [policy] = await bucket.iam.getPolicy({requestedPolicyVersion: 3});
    policy.bindings.push({role: 'roles/storage.objectViewer', members: ['user:a@b.co']});
    await bucket.iam.setPolicy(policy);
  },
  bucket_iam_permissions: () => bucket.iam.testPermissions(['storage.buckets.get']),
  file_save_simple: () => file.save('one', {resumable: false, contentType: 'text/plain'}),
  file_save_resumable: () => bucket.file('resumable.txt').save('two'),
  file_save_resumable_in_chunks: async () => {
    await bucket.file('chunks.bin').save(large, {resumable: true, chunkSize: 1 << 20});
    assert.deepEqual((await bucket.file('chunks.bin').download())[0], large);
  },
  file_write_stream: async () => {
    await pipeline(Readable.from([large]), bucket.file('stream.bin').createWriteStream());
    assert.equal((await bucket.file('stream.bin').getMetadata())[0].size, large.length);
  },
  file_save_gzip: async () => {
    await bucket.file('packed.txt').save('z'.repeat(5000), {gzip: true, resumable: false});
    assert.equal(String((await bucket.file('packed.txt').download())[0]), 'z'.repeat(5000));
  },
  file_save_if_absent: () => refused(412, file.save('x', {resumable: false, preconditionOpts: {ifGenerationMatch: 0}})),
  bucket_upload: async () => {
    await writeFile('up.bin', large);
    await bucket.upload('up.bin', {destination: 'folder/up.bin', metadata: {metadata: {k: 'v'}}});
  },
  file_download: async () => assert.equal(String((await file.download())[0]), 'one'),
  file_download_to_a_path: async () => {
    await bucket.file('folder/up.bin').download({destination: 'down.bin'});
    assert.deepEqual(await readFile('down.bin'), large);
  },
  file_read_stream_of_a_range: async () => {
    const parts = [];
    for await (const part of file.createReadStream({start: 1, end: 2})) parts.push(part);
    assert.equal(String(Buffer.concat(parts)), 'ne');
  },
  file_of_a_name_with_signs: async () => {
    const odd = bucket.file('ä ö/?#[1]+%.txt');
    await odd.save('odd', {resumable: false});
    assert.equal(String((await odd.download())[0]), 'odd');
    await odd.delete();
  },
  file_exists: async () => assert.deepEqual(await bucket.file('none').exists(), [false]),
  file_metadata: async () => assert.equal((await file.getMetadata())[0].contentType, 'text/plain'),
  file_set_metadata: async () => {
    await file.setMetadata({metadata: {stage: 'canary'}, cacheControl: 'no-store'});
    assert.equal((await file.getMetadata())[0].metadata.stage, 'canary');
  },
  files_list: async () => assert.ok((await bucket.getFiles())[0].length > 4),
  files_list_folders: async () => {
    const [files, , reply] = await bucket.getFiles({delimiter: '/', autoPaginate: false});
    assert.deepEqual(reply.prefixes, ['folder/']);
    assert.ok(files.some(one => one.name === 'a.txt'));
  },
  files_list_pages: async () => {
    const [files, next] = await bucket.getFiles({maxResults: 2, autoPaginate: false});
    assert.ok(files.length === 2 && next.pageToken);
  },
  files_list_glob: async () => assert.equal((await bucket.getFiles({matchGlob: '*.txt'}))[0].length, 3),
  file_copy: async () => {
    await file.copy('copy.txt');
    assert.equal(String((await bucket.file('copy.txt').download())[0]), 'one');
  },
  file_rename: () => bucket.file('copy.txt').rename('renamed.txt'),
  file_move_in_place: () => bucket.file('renamed.txt').moveFileAtomic('moved.txt'),
  bucket_combine: async () => {
    await bucket.combine(['a.txt', 'resumable.txt'], 'both.txt');
    assert.equal(String((await bucket.file('both.txt').download())[0]), 'onetwo');
  },
  file_set_storage_class: () => file.setStorageClass('coldline'),
  file_generation: async () => {
    const [{generation}] = await file.getMetadata();
    assert.equal(String((await bucket.file('a.txt', {generation}).download())[0]), 'one');
  },
  file_acl: () => file.acl.get(),
  file_make_public: () => file.makePublic(),
  transfer_manager_uploads: async () => {
    await writeFile('one.txt', '1');
    await writeFile('two.txt', '2');
    await new TransferManager(bucket).uploadManyFiles(['one.txt', 'two.txt'], {prefix: 'many'});
  },
  transfer_manager_downloads_in_chunks: () =>
    new TransferManager(bucket).downloadFileInChunks('folder/up.bin', {destination: 'parts.bin', chunkSizeBytes: 1 << 20}),
  transfer_manager_uploads_in_chunks: () =>
    new TransferManager(bucket).uploadFileInChunks('up.bin', {uploadName: 'parts.bin', chunkSizeBytes: 1 << 20}),
  bucket_notifications: () => bucket.getNotifications(),
  hmac_keys: () => storage.getHmacKeys(),
  service_account: () => storage.getServiceAccount(),
  file_signed_url: () => file.getSignedUrl({action: 'read', expires: Date.now() + 60_000}),
  file_delete: async () => {
    await file.delete();
    await refused(404, file.download());
  },
  bucket_delete_files: () => bucket.deleteFiles({force: true}),
  bucket_delete: () => bucket.delete(),
};

for (const [name, call] of Object.entries(calls)) {
  const late = new AbortController();
  const limit = setTimeout(SECONDS * 1000, null, {signal: late.signal}).then(() => {
    throw new Error(`no answer within ${SECONDS} s`);
  });
  limit.catch(() => {});
  try {
    await Promise.race([call(), limit]);
    console.log('PASS', name);
  } catch (error) {
    console.log('FAIL', `${name}: ${error.name}: ${error.message}`.replace(/\s+/g, ' ').slice(0, 600));
  } finally {
    late.abort();
  }
}
process.exit(0);
