import { describe, expect, it } from '@jest/globals';
import { runnerSchema, sandboxSchema, sandboxStatusSchema } from '../../../crds/index.ts';
import type { Manifest } from '../../../kube/types.ts';
import { ApiStore } from './api-store.ts';
import { installSchemas, runners, sandboxes } from './objects.ts';

const ref = { namespace: 'n', name: 's' };
/** As they are before a store is made. */
const readSandboxAlone: (raw: unknown) => unknown = sandboxSchema.safeParse.bind(sandboxSchema);
const readRunnerAlone: (raw: unknown) => unknown = runnerSchema.safeParse.bind(runnerSchema);

function aStore() {
  const store = new ApiStore(
    () => '2026-01-01T00:00:00Z',
    () => 'uid-1',
  );
  installSchemas(store);
  store.create(sandboxes, { apiVersion: 'berth.dev/v1alpha1', kind: 'Sandbox', metadata: ref, spec: { image: 'i:1' } } as Manifest, 'user');
  store.create(runners, { apiVersion: 'berth.dev/v1alpha1', kind: 'Runner', metadata: { name: 'r' } }, 'agent');
  const write = (status: object) => store.patch(sandboxes, ref, { type: 'merge', body: { status } }, 'status', 'operator');
  return { store, write };
}

describe('the installed schemas', () => {
  it('default, prune and refuse what is written, member by member, as the whole schema does', () => {
    const { store, write } = aStore();
    write({ state: 'Creating', order: 1, unknown: true });
    expect(store.get(sandboxes, ref).status).toEqual(sandboxStatusSchema.parse({ state: 'Creating', order: 1 }));
    write({ order: 2, message: 'm', transition: { startTime: '2026-01-01T00:00:00Z', unknown: 1 } });
    const want = { state: 'Creating', order: 2, message: 'm', transition: { startTime: '2026-01-01T00:00:00Z' } };
    expect(store.get(sandboxes, ref).status).toEqual(sandboxStatusSchema.parse(want));
    expect(() => write({ order: -1 })).toThrow('Too small');
    write({ message: null });
    expect(store.get(sandboxes, ref).status).not.toHaveProperty('message');
  });

  it('let objects of the store be read as they are read alone', () => {
    const { store, write } = aStore();
    for (const status of [undefined, { order: 1 }, { state: 'Started', startTime: '2026-01-01T00:00:00Z' }]) {
      if (status !== undefined) write(status);
      const stored = store.get(sandboxes, ref);
      const alone = readSandboxAlone(structuredClone(stored));
      expect(alone).toMatchObject({ success: true });
      expect(sandboxSchema.safeParse(stored)).toEqual(alone);
      expect(sandboxSchema.safeParse(stored).data).toBe(sandboxSchema.safeParse(stored).data);
    }
    const runner = store.get(runners, { name: 'r' });
    expect(runnerSchema.safeParse(runner)).toEqual(readRunnerAlone(structuredClone(runner)));
    expect(readSandboxAlone({})).toMatchObject({ success: false });
    expect(sandboxSchema.safeParse(Object.freeze({})).success).toBe(false);
  });

  it('give out objects that nobody can change', () => {
    const { store } = aStore();
    const stored = store.get(sandboxes, ref) as unknown as { spec: { image: string } };
    expect(() => (stored.spec.image = 'other')).toThrow(TypeError);
  });
});
