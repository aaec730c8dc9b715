import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { Store } from './store.ts';
import type { Arrival, Change } from './store.ts';
import type { KubeObject, ObjectMeta } from './types.ts';

interface Thing extends KubeObject {
  readonly text: string;
}

function thing(resourceVersion: string, over: Partial<ObjectMeta> & { readonly text?: string } = {}): Thing {
  const { text = '', ...metadata } = over;
  return { apiVersion: 'v1', kind: 'Thing', metadata: { name: 'a', namespace: 'ns', uid: 'u1', resourceVersion, ...metadata }, text };
}
const arrival = (object: Thing): Arrival<Thing> => ({ metadata: object.metadata, object });
const unreadable = (object: Thing): Arrival<Thing> => ({ metadata: object.metadata });
const short = (changes: readonly Change<Thing>[]) =>
  changes.map((change) => `${change.kind} ${change.object.metadata.uid}@${change.object.metadata.resourceVersion}`);

/** A store that listed these objects at version 10. */
function listed(...objects: readonly Thing[]) {
  const store = new Store<Thing>();
  store.replace(objects.map(arrival), '10', store.beginList());
  return store;
}

describe('store', () => {
  it('tells the difference between two lists', () => {
    const store = new Store<Thing>();
    const first = store.replace(
      [thing('3'), thing('4', { name: 'b', uid: 'u2' }), thing('5', { name: 'c', uid: 'u3' })].map(arrival),
      '10',
      store.beginList(),
    );
    const second = store.replace(
      [thing('3'), thing('12', { name: 'b', uid: 'u2' }), thing('13', { name: 'd', uid: 'u4' })].map(arrival),
      '20',
      store.beginList(),
    );
    expect(short(first)).toEqual(['added u1@3', 'added u2@4', 'added u3@5']);
    expect(short(second)).toEqual(['deleted u3@5', 'updated u2@12', 'added u4@13']);
  });

  it.each([
    { when: 'an object comes', events: [['ADDED', thing('11', { name: 'b', uid: 'u2' })]], want: ['added u2@11'] },
    { when: 'an object changes', events: [['MODIFIED', thing('11')]], want: ['updated u1@11'] },
    { when: 'an object goes', events: [['DELETED', thing('11')]], want: ['deleted u1@5'] },
    { when: 'an unknown object goes', events: [['DELETED', thing('11', { name: 'b', uid: 'u2' })]], want: [] },
    {
      when: 'an object was deleted and created again while nobody looked',
      events: [['MODIFIED', thing('12', { uid: 'u2' })]],
      want: ['deleted u1@5', 'added u2@12'],
    },
    {
      when: 'the deletion of an earlier object of that name comes late',
      events: [
        ['ADDED', thing('12', { uid: 'u2' })],
        ['DELETED', thing('13')],
      ],
      want: ['deleted u1@5', 'added u2@12'],
    },
  ] as const)('tells what happens when $when', ({ events, want }) => {
    const store = listed(thing('5'));
    expect(events.flatMap(([type, object]) => short(store.apply(type, arrival(object))))).toEqual(want);
  });

  it('tells an object that was deleted and created again between two lists as deleted, then added', () => {
    const store = listed(thing('5'));
    expect(short(store.replace([arrival(thing('12', { uid: 'u2' }))], '20', store.beginList()))).toEqual(['deleted u1@5', 'added u2@12']);
  });

  describe('with an object that cannot be parsed', () => {
    it('keeps the last one that could, and says so', () => {
      const store = listed(thing('5'));
      expect(short(store.apply('MODIFIED', unreadable(thing('11'))))).toEqual([]);
      expect([store.get('ns/a')?.metadata.resourceVersion, store.isUnreadable('ns/a')]).toEqual(['5', true]);
      expect(short(store.apply('MODIFIED', arrival(thing('12'))))).toEqual(['updated u1@12']);
      expect(store.isUnreadable('ns/a')).toBe(false);
    });

    it('has none when there never was one, and tells it as added when it can be parsed', () => {
      const store = new Store<Thing>();
      expect(short(store.replace([unreadable(thing('5'))], '10', store.beginList()))).toEqual([]);
      expect([store.get('ns/a'), store.isUnreadable('ns/a'), store.isUnreadable('ns/b')]).toEqual([undefined, true, false]);
      expect(short(store.apply('MODIFIED', arrival(thing('12'))))).toEqual(['added u1@12']);
    });

    it('does not take a new object of the same name for the old one', () => {
      const store = listed(thing('5'));
      expect(short(store.apply('ADDED', unreadable(thing('12', { uid: 'u2' }))))).toEqual(['deleted u1@5']);
      expect([store.get('ns/a'), store.isUnreadable('ns/a')]).toEqual([undefined, true]);
      expect(short(store.apply('DELETED', unreadable(thing('13', { uid: 'u2' }))))).toEqual([]);
      expect(store.isUnreadable('ns/a')).toBe(false);
    });
  });

  describe('with acknowledged writes', () => {
    it.each([
      { when: 'the watch has not told it', given: [], acknowledged: thing('12'), want: ['updated u1@12'] },
      { when: 'the watch has told it', given: [thing('12')], acknowledged: thing('12'), want: [] },
      { when: 'the watch has told a later one', given: [thing('12'), thing('13')], acknowledged: thing('12'), want: [] },
      { when: 'it is a new object', given: [], acknowledged: thing('12', { name: 'b', uid: 'u2' }), want: ['added u2@12'] },
      {
        when: 'it finished the object off',
        given: [],
        acknowledged: thing('12', { deletionTimestamp: 't', finalizers: [] }),
        want: ['deleted u1@5'],
      },
      {
        when: 'it only began the deletion',
        given: [],
        acknowledged: thing('12', { deletionTimestamp: 't', finalizers: ['f'] }),
        want: ['updated u1@12'],
      },
    ])('takes one when $when', ({ given, acknowledged, want }) => {
      const store = listed(thing('5'));
      for (const object of given) store.apply('MODIFIED', arrival(object));
      expect(short(store.acknowledge(acknowledged))).toEqual(want);
    });

    it('passes over older events until the watch reaches it', () => {
      const store = listed(thing('5'));
      store.acknowledge(thing('15'));
      expect(short(store.apply('MODIFIED', arrival(thing('12'))))).toEqual([]);
      expect(short(store.apply('MODIFIED', arrival(thing('15'))))).toEqual([]);
      expect(short(store.apply('MODIFIED', arrival(thing('16'))))).toEqual(['updated u1@16']);
    });

    it('does not bring back an object whose deletion the watch told first', () => {
      const store = listed(thing('5'));
      store.apply('DELETED', arrival(thing('13')));
      expect(short(store.acknowledge(thing('12')))).toEqual([]);
    });

    it('does not take the end of the object before for the end of this one', () => {
      const store = listed(thing('5'));
      expect(short(store.acknowledge(thing('15', { uid: 'u2' })))).toEqual(['deleted u1@5', 'added u2@15']);
      expect(short(store.apply('DELETED', arrival(thing('14'))))).toEqual([]);
      expect(short(store.apply('ADDED', arrival(thing('15', { uid: 'u2' }))))).toEqual([]);
      expect(short(store.apply('DELETED', arrival(thing('16', { uid: 'u2' }))))).toEqual(['deleted u2@15']);
    });

    it('keeps it over a list that began before and is older', () => {
      const store = listed(thing('5'));
      const mark = store.beginList();
      store.acknowledge(thing('15'));
      store.acknowledge(thing('14', { name: 'b', uid: 'u2' }));
      expect(short(store.replace([arrival(thing('12'))], '13', mark))).toEqual([]);
      expect(store.get('ns/a')?.metadata.resourceVersion).toBe('15');
    });

    it('believes a list that began before, if it is newer', () => {
      const store = listed(thing('5'));
      const mark = store.beginList();
      store.acknowledge(thing('15'));
      expect(short(store.replace([], '16', mark))).toEqual(['deleted u1@15']);
    });

    it('believes a list that began afterwards, even from a server that lost its past', () => {
      const store = listed(thing('5'));
      store.acknowledge(thing('15'));
      expect(short(store.replace([arrival(thing('3'))], '4', store.beginList()))).toEqual(['updated u1@3']);
      expect(short(store.apply('MODIFIED', arrival(thing('6'))))).toEqual(['updated u1@6']);
    });
  });

  describe('with acknowledged deletions', () => {
    it('never shows the object again, whatever still comes', () => {
      const store = listed(thing('5'));
      const mark = store.beginList();
      expect(short(store.acknowledgeDeletion(thing('5').metadata))).toEqual(['deleted u1@5']);
      expect(short(store.apply('MODIFIED', arrival(thing('11'))))).toEqual([]);
      expect(short(store.replace([arrival(thing('11'))], '12', mark))).toEqual([]);
      expect(short(store.acknowledge(thing('11')))).toEqual([]);
      expect(short(store.apply('DELETED', arrival(thing('13'))))).toEqual([]);
      expect(store.get('ns/a')).toBeUndefined();
    });

    it('does not show it again after a list that still contained it', () => {
      const store = listed(thing('5'));
      const mark = store.beginList();
      store.acknowledgeDeletion(thing('5').metadata);
      store.replace([arrival(thing('5'))], '11', mark);
      expect(short(store.apply('MODIFIED', arrival(thing('12'))))).toEqual([]);
      expect(short(store.apply('DELETED', arrival(thing('13'))))).toEqual([]);
    });

    it('does not show it at all when it was created and deleted within a list', () => {
      const store = listed();
      const mark = store.beginList();
      store.acknowledgeDeletion(thing('12').metadata);
      store.replace([], '11', mark);
      expect(short(store.apply('ADDED', arrival(thing('12'))))).toEqual([]);
    });

    it('shows nothing older under that name either: neither what is there nor what the watch still tells', () => {
      const store = listed(thing('5'));
      expect(short(store.acknowledgeDeletion(thing('15', { uid: 'u2' }).metadata))).toEqual(['deleted u1@5']);
      expect(short(store.apply('MODIFIED', arrival(thing('12'))))).toEqual([]);
      expect(short(store.acknowledge(thing('12')))).toEqual([]);
      expect(short(store.apply('DELETED', arrival(thing('13'))))).toEqual([]);
      expect(short(store.apply('ADDED', arrival(thing('14', { uid: 'u2' }))))).toEqual([]);
      expect(short(store.apply('DELETED', arrival(thing('16', { uid: 'u2' }))))).toEqual([]);
      expect(short(store.apply('ADDED', arrival(thing('17', { uid: 'u3' }))))).toEqual(['added u3@17']);
    });

    it('shows the object again when the server came back from a backup and lists it', () => {
      const store = listed(thing('5'));
      store.acknowledgeDeletion(thing('5').metadata);
      expect(short(store.replace([arrival(thing('3'))], '4', store.beginList()))).toEqual(['added u1@3']);
    });

    it('shows the next object of that name', () => {
      const store = listed(thing('5'));
      store.acknowledgeDeletion(thing('5').metadata);
      expect(short(store.apply('ADDED', arrival(thing('14', { uid: 'u2' }))))).toEqual(['added u2@14']);
    });

    it('changes nothing when the next object is there already', () => {
      const store = listed(thing('5'));
      store.apply('DELETED', arrival(thing('13')));
      store.apply('ADDED', arrival(thing('14', { uid: 'u2' })));
      expect(short(store.acknowledgeDeletion(thing('5').metadata))).toEqual([]);
      expect(store.get('ns/a')?.metadata.uid).toBe('u2');
    });
  });

  it('asks for a list when a bookmark lies before what was told', () => {
    const store = listed(thing('5'));
    expect([store.bookmark('12'), store.position, store.bookmark('11'), store.position]).toEqual([true, '12', false, '12']);
  });
});

/**
 * Any interleaving of writes at a linearizable server, their acknowledgements in any order, watch events late, and lists whose snapshot
 * is taken anywhere between their begin and their end.
 */
describe.each([
  { versions: 'comparable', version: (revision: number) => String(revision) },
  { versions: 'opaque', version: (revision: number) => `v${(revision * 7919) % 10007}` },
])('store with $versions versions', ({ versions, version }) => {
  const names = ['a', 'b'] as const;
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ do: fc.constant('write' as const), name: fc.constantFrom(...names) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('delete' as const), name: fc.constantFrom(...names) }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('deliver' as const) }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('acknowledge' as const), which: fc.nat(5) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('beginList' as const) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('snapshot' as const) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('endList' as const) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('bookmark' as const) }) },
  );

  class World {
    readonly store = new Store<Thing>();
    readonly truth = new Map<string, Thing>();
    readonly history: { readonly revision: number; readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: Thing }[] = [];
    readonly pending: { readonly revision: number; readonly object: Thing; readonly deleted: boolean }[] = [];
    /** By name: the revision of the newest acknowledged write. */
    readonly acknowledged = new Map<string, number>();
    /** What a subscriber knows. */
    readonly mirror = new Map<string, Thing>();
    revision = 10;
    delivered = 10;
    list: { readonly mark: number; snapshot?: { readonly objects: readonly Thing[]; readonly revision: number } } | undefined;

    constructor() {
      this.tell(this.store.replace([], version(10), this.store.beginList()));
    }

    revisionOf(object: Thing): number {
      return Number(object.text);
    }

    tell(changes: readonly Change<Thing>[]): void {
      for (const { kind, key, object } of changes) {
        expect(this.mirror.has(key)).toBe(kind !== 'added');
        if (kind === 'deleted') this.mirror.delete(key);
        else this.mirror.set(key, object);
      }
    }

    write(name: string): void {
      const old = this.truth.get(name);
      const revision = ++this.revision;
      const object = thing(version(revision), { name, uid: old?.metadata.uid ?? `${name}${revision}`, text: String(revision) });
      this.truth.set(name, object);
      this.history.push({ revision, type: old === undefined ? 'ADDED' : 'MODIFIED', object });
      this.pending.push({ revision, object, deleted: false });
    }

    delete(name: string): void {
      const old = this.truth.get(name);
      if (old === undefined) return;
      const revision = ++this.revision;
      this.truth.delete(name);
      this.history.push({
        revision,
        type: 'DELETED',
        object: { ...old, metadata: { ...old.metadata, resourceVersion: version(revision) } },
      });
      this.pending.push({ revision, object: old, deleted: true });
    }

    deliver(): boolean {
      const event = this.history.find(({ revision }) => revision > this.delivered);
      if (event === undefined) return false;
      this.delivered = event.revision;
      this.tell(this.store.apply(event.type, arrival(event.object)));
      return true;
    }

    acknowledge(which: number): void {
      const [write] = this.pending.splice(which % Math.max(1, this.pending.length), 1);
      if (write === undefined) return;
      const { name } = write.object.metadata;
      this.acknowledged.set(name, Math.max(write.revision, this.acknowledged.get(name) ?? 0));
      this.tell(write.deleted ? this.store.acknowledgeDeletion(write.object.metadata) : this.store.acknowledge(write.object));
    }

    snapshot(): void {
      if (this.list !== undefined) this.list.snapshot ??= { objects: [...this.truth.values()], revision: this.revision };
    }

    endList(): void {
      if (this.list === undefined) return;
      this.snapshot();
      const { mark, snapshot: { objects, revision } = { objects: [], revision: 0 } } = this.list;
      this.list = undefined;
      this.delivered = revision;
      this.tell(this.store.replace(objects.map(arrival), version(revision), mark));
    }

    /** Only once everything was delivered does the server send a bookmark of its present version. */
    bookmark(): void {
      if (this.delivered !== this.revision || this.list !== undefined || this.store.bookmark(version(this.revision))) return;
      this.list = { mark: this.store.beginList() };
      this.endList();
    }

    check(): void {
      for (const [name, acknowledged] of this.acknowledged) {
        const object = this.store.get(`ns/${name}`);
        const seen =
          object === undefined
            ? Math.max(
                0,
                ...this.history
                  .filter((event) => event.type === 'DELETED' && event.object.metadata.name === name)
                  .map(({ revision }) => revision),
              )
            : this.revisionOf(object);
        expect(seen).toBeGreaterThanOrEqual(acknowledged);
      }
      expect(Object.fromEntries(this.mirror)).toEqual(
        Object.fromEntries([...this.store.objects()].map((object) => [`ns/${object.metadata.name}`, object])),
      );
    }
  }

  it(`never returns an object older than an acknowledged write, and ends like the server (${versions})`, () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const world = new World();
        for (const one of steps) {
          if (one.do === 'write' || one.do === 'delete') world[one.do](one.name);
          else if (one.do === 'acknowledge') world.acknowledge(one.which);
          else if (one.do === 'beginList') world.list ??= { mark: world.store.beginList() };
          // A reflector does not watch while it lists.
          else if (one.do === 'deliver' && world.list !== undefined) continue;
          else world[one.do]();
          if (versions === 'comparable') world.check();
        }
        world.endList();
        while (world.pending.length > 0) world.acknowledge(0);
        while (world.deliver());
        world.bookmark();
        world.check();
        expect(Object.fromEntries(world.mirror)).toEqual(
          Object.fromEntries([...world.truth].map(([name, object]) => [`ns/${name}`, object])),
        );
      }),
      { numRuns: 4000 },
    );
  });
});
