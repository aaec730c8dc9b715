import { describe, expect, it } from '@jest/globals';
import { createClient } from './client.ts';
import { FakeApi } from './fake-api.ts';
import type { KubeObject, Resource } from './types.ts';

const things: Resource = { group: 'example.dev', version: 'v1', plural: 'things', kind: 'Thing', namespaced: true };
interface Thing extends KubeObject {
  readonly status?: { readonly size?: number; readonly more?: object };
}
const manifest = { apiVersion: 'example.dev/v1', kind: 'Thing', metadata: { namespace: 'ns', name: 'a' } };

function setUp() {
  const api = new FakeApi();
  const acknowledged: string[] = [];
  const told = new Map<string, Thing>();
  const client = createClient<Thing>({
    transport: api,
    resource: things,
    parse: (raw) => {
      if ('bad' in raw) throw new Error('it is bad');
      return raw;
    },
    cache: {
      inVersion: ({ resourceVersion }) => told.get(resourceVersion),
      acknowledge: ({ metadata }) => void acknowledged.push(`written ${metadata.resourceVersion}`),
      acknowledgeDeletion: ({ metadata }) => void acknowledged.push(`deleted ${metadata.uid}`),
    },
  });
  const writes = () => api.requests.filter(({ verb }) => verb === 'patch').map(({ what }) => (what as { body: unknown }).body);
  return { api, client, acknowledged, told, writes };
}

describe('typed client', () => {
  it('acknowledges what it writes to the cache', async () => {
    const { client, acknowledged } = setUp();
    const created = await client.create(manifest);
    await client.patchStatus(created, { size: 1 });
    await client.apply(manifest, { fieldManager: 'me' });
    expect(acknowledged).toEqual(['written 101', 'written 102', 'written 103']);
  });

  it('returns what the watch has told already, and reads it no second time', async () => {
    const { client, acknowledged, told } = setUp();
    const created = await client.create(manifest);
    const seen = { ...created, metadata: { ...created.metadata, resourceVersion: '102' } };
    told.set('102', seen);
    expect(await client.patchStatus(created, { size: 1 })).toBe(seen);
    expect(acknowledged).toEqual(['written 101']);
  });

  it('acknowledges that an object is gone whose last finalizer it took: the answer has the version that the watch has told', async () => {
    const { api, client, acknowledged, told } = setUp();
    const held = await client.create({ ...manifest, metadata: { ...manifest.metadata, finalizers: ['example.dev/hold'] } });
    await api.delete(things, held.metadata);
    const deleting = await client.get(held.metadata);
    told.set(deleting.metadata.resourceVersion, deleting);
    await client.setFinalizers(deleting, []);
    expect(acknowledged).toEqual(['written 101', `written ${deleting.metadata.resourceVersion}`]);
  });

  it('writes only what differs in the status, under the version that was read', async () => {
    const { client, writes } = setUp();
    const created = await client.create(manifest);
    const first = await client.patchStatus(created, { size: 1, more: { a: 1, b: 2 } });
    const second = await client.patchStatus(first, { more: { a: 1, b: 3 } });
    expect(second.status).toEqual({ more: { a: 1, b: 3 } });
    expect(writes()).toEqual([
      { metadata: { resourceVersion: '101' }, status: { size: 1, more: { a: 1, b: 2 } } },
      { metadata: { resourceVersion: '102' }, status: { size: null, more: { b: 3 } } },
    ]);
  });

  it('writes nothing when nothing differs', async () => {
    const { client, writes } = setUp();
    const created = await client.create(manifest);
    const object = await client.patchStatus(created, { size: 1 });
    expect(await client.patchStatus(object, { size: 1, more: undefined })).toBe(object);
    expect(await client.setFinalizers(object, [])).toBe(object);
    expect(writes()).toHaveLength(1);
  });

  it('refuses to write over a change that it has not seen', async () => {
    const { client } = setUp();
    const stale = await client.create(manifest);
    await client.patchStatus(stale, { size: 1 });
    await expect(client.patchStatus(stale, { size: 2 })).rejects.toMatchObject({ code: 'Conflict' });
    await expect(client.setFinalizers(stale, ['f'])).rejects.toMatchObject({ code: 'Conflict' });
  });

  it('deletes this very object only', async () => {
    const { client, api } = setUp();
    const old = await client.create(manifest);
    await api.delete(things, manifest.metadata);
    await client.create(manifest);
    await expect(client.delete(old)).rejects.toMatchObject({ code: 'Conflict' });
  });

  it.each([
    { when: 'it is gone at once', finalizers: [], before: false, want: ['deleted uid-1'] },
    { when: 'a finalizer holds it', finalizers: ['f'], before: false, want: ['written 102'] },
    { when: 'it was gone already', finalizers: [], before: true, want: ['deleted uid-1'] },
  ])('tells the cache about a deletion when $when', async ({ finalizers, before, want }) => {
    const { client, api, acknowledged } = setUp();
    const object = await client.create({ ...manifest, metadata: { ...manifest.metadata, finalizers } });
    acknowledged.length = 0;
    if (before) await api.delete(things, manifest.metadata);
    await client.delete(object);
    expect(acknowledged).toEqual(want);
  });

  it('lets a deleting object go by taking its finalizer', async () => {
    const { client, api } = setUp();
    const object = await client.create({ ...manifest, metadata: { ...manifest.metadata, finalizers: ['f'] } });
    await client.delete(object);
    await client.setFinalizers(await client.get(manifest.metadata), []);
    expect(api.objects(things)).toEqual([]);
  });

  it('says which object it cannot read', async () => {
    const { client, api } = setUp();
    await api.create(things, { ...manifest, bad: true } as typeof manifest);
    await expect(client.get(manifest.metadata)).rejects.toMatchObject({
      code: 'Malformed',
      message: 'The Thing a that the API server answered cannot be read: it is bad',
    });
  });
});
