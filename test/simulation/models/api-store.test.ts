import { beforeEach, describe, expect, it } from '@jest/globals';
import { API_GROUP_VERSION, SANDBOX_FINALIZER } from '../../../crds/index.ts';
import { ApiStore } from './api-store.ts';
import { applyPatch, jsonPatch, mergePatch } from './json.ts';
import { installSchemas, sandboxes } from './objects.ts';

const ref = { namespace: 'team-a', name: 's' };

describe('ApiStore', () => {
  let store: ApiStore;
  beforeEach(() => {
    let uids = 0;
    store = new ApiStore(
      () => '2026-01-01T00:00:00Z',
      () => `uid-${++uids}`,
    );
    installSchemas(store);
    store.create(
      sandboxes,
      {
        apiVersion: API_GROUP_VERSION,
        kind: 'Sandbox',
        metadata: { ...ref, finalizers: [SANDBOX_FINALIZER] },
        spec: { image: 'i:1' },
      } as never,
      'user',
    );
  });
  const patch = (body: object, subresource?: string) => store.patch(sandboxes, ref, { type: 'merge', body }, subresource, 'user');

  it('fills in the defaults of the schema and refuses what it does not allow', () => {
    expect(store.get(sandboxes, ref).spec).toMatchObject({ image: 'i:1', desiredState: 'Started', restartPolicy: 'Always' });
    expect(() => patch({ spec: { desiredState: 'Running' } })).toThrow(expect.objectContaining({ code: 'Invalid' }));
  });

  it('raises the generation with the spec only, and keeps status and spec apart', () => {
    expect(patch({ status: { order: 9 }, spec: { desiredState: 'Stopped' } })).toMatchObject({ metadata: { generation: 2 } });
    expect(store.get(sandboxes, ref).status).toBeUndefined();
    const written = patch({ status: { order: 1 }, spec: { desiredState: 'Started' } }, 'status');
    expect(written).toMatchObject({ metadata: { generation: 2 }, spec: { desiredState: 'Stopped' }, status: { order: 1 } });
  });

  it('does not write what changes nothing', () => {
    const { resourceVersion } = patch({ status: { order: 1 } }, 'status').metadata;
    expect(patch({ status: { order: 1 } }, 'status').metadata.resourceVersion).toBe(resourceVersion);
  });

  it('refuses a write that is based on an older version', () => {
    const { resourceVersion } = store.get(sandboxes, ref).metadata;
    patch({ metadata: { resourceVersion }, status: { order: 1 } }, 'status');
    expect(() => patch({ metadata: { resourceVersion }, status: { order: 2 } }, 'status')).toThrow(
      expect.objectContaining({ code: 'Conflict' }),
    );
  });

  it('keeps a deleted object until its finalizers are gone', () => {
    expect(store.delete(sandboxes, ref, {}, 'user')).toMatchObject({
      kind: 'deleting',
      object: { metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } },
    });
    patch({ metadata: { finalizers: null } });
    expect(store.find(sandboxes, ref)).toBeUndefined();
    expect(store.since(sandboxes, 100).map(({ type }) => type)).toEqual(['ADDED', 'MODIFIED', 'DELETED']);
  });

  it('says that a version is too old after a compaction', () => {
    store.compact();
    expect(() => store.since(sandboxes, 100)).toThrow(expect.objectContaining({ code: 'Expired' }));
    expect(store.since(sandboxes, store.version)).toEqual([]);
  });
});

describe('patches', () => {
  it('merge: null removes, objects merge, lists are replaced', () => {
    expect(mergePatch({ a: 1, b: { c: 2, d: 3 }, e: [1] }, { a: null, b: { c: 4 }, e: [2, 3] })).toEqual({ b: { c: 4, d: 3 }, e: [2, 3] });
  });

  it('json: adds, replaces, removes and tests', () => {
    const operations = [
      { op: 'test', path: '/a', value: 1 },
      { op: 'add', path: '/list/-', value: 3 },
      { op: 'remove', path: '/list/0' },
      { op: 'replace', path: '/x~1y', value: 'z' },
    ];
    expect(jsonPatch({ a: 1, list: [1, 2], 'x/y': 0 }, operations)).toEqual({ a: 1, list: [2, 3], 'x/y': 'z' });
    expect(() => jsonPatch({ a: 2 }, operations)).toThrow('test failed');
  });

  it('apply: a manager removes what it no longer names, and only that', () => {
    const target = {
      conditions: [
        { type: 'A', status: 'True' },
        { type: 'B', status: 'True' },
      ],
      storeID: 's',
      other: 1,
    };
    const before = { conditions: [{ type: 'A', status: 'True' }], storeID: 's' };
    expect(applyPatch(target, before, { conditions: [{ type: 'C', status: 'False' }] })).toEqual({
      conditions: [
        { type: 'B', status: 'True' },
        { type: 'C', status: 'False' },
      ],
      other: 1,
    });
  });
});
