import { describe, expect, it } from '@jest/globals';
import { runnerSchema, type Removal, type Sandbox } from '../../crds/index.ts';
import { aSandbox, type SandboxBuilder } from '../../test/builders/a-sandbox.ts';
import { aCopy } from '../../test/builders/a-world.ts';
import { aHello } from '../../test/builders/scripted-agent.ts';
import { copyKey, factsOf, type RunnerFacts } from '../hub/facts.ts';
import type { CopyView } from '../lifecycle/snapshot.ts';
import { confirmed, unnamedCopies, type UnnamedCopy } from './unnamed.ts';

const runner = (...removals: readonly Removal[]) =>
  runnerSchema.parse({
    metadata: { name: 'r1', uid: 'u', resourceVersion: '1', creationTimestamp: '2026-01-01T00:00:00Z' },
    status: { removals },
  });
const removal: Removal = {
  ...{ uid: 'uid-box', epoch: 1, namespace: 'default', name: 'box', storeID: 'store-r1', order: 3, graceSeconds: 0 },
  startTime: '2026-01-01T00:00:00Z',
};

function facts(copy: CopyView, epoch = 1): RunnerFacts {
  return { ...factsOf(aHello('r1'), undefined), isComplete: true, copies: new Map([[copyKey('uid-box', epoch), copy]]) };
}

const onR1 = aSandbox().onRunner('r1');
const objects = (...boxes: readonly SandboxBuilder[]) => {
  const all = boxes.map((box) => box.obj());
  return (uid: string): Sandbox | undefined => all.find(({ metadata }) => metadata.uid === uid);
};
const running = aCopy('Running');

describe('copies that no object names', () => {
  it.each([
    { when: 'its object assigns it', copy: running, known: objects(onR1.started()), want: undefined },
    { when: 'there is no object', copy: running, known: objects(), want: 'NoObject' },
    { when: 'an object of the same name has another uid', copy: running, known: objects(onR1.metadata({ uid: 'new' })), want: 'NoObject' },
    { when: 'the object assigns a later copy', copy: running, epoch: 1, known: objects(onR1.status(epochOf(2))), want: 'Superseded' },
    { when: 'the object knows only an earlier copy', copy: running, epoch: 3, known: objects(onR1), want: 'Superseded' },
    { when: 'the object is on another runner', copy: running, known: objects(aSandbox().onRunner('r2')), want: 'Superseded' },
    {
      when: 'the object names the runner as it was with another disk',
      copy: running,
      known: objects(onR1.status(otherStore())),
      want: 'Superseded',
    },
    { when: 'the object was never placed', copy: running, known: objects(aSandbox()), want: 'Superseded' },
    { when: 'the object releases it', copy: running, epoch: 9, known: objects(onR1.releasing('r1', 9)), want: undefined },
    { when: 'the object may go back to it', copy: running, epoch: 7, known: objects(onR1.status(withPrevious(7))), want: undefined },
    { when: 'the Runner notes it for removal', copy: running, known: objects(), on: runner(removal), want: undefined },
    {
      when: 'the Runner notes it on another disk',
      copy: running,
      known: objects(),
      on: runner({ ...removal, storeID: 'x' }),
      want: 'NoObject',
    },
    { when: 'it is stopped', copy: aCopy('Stopped'), known: objects(), want: 'NoObject' },
    { when: 'it is made ready and nothing ever ran', copy: aCopy('Prepared'), known: objects(), want: undefined },
    { when: 'it is made ready to run again', copy: aCopy('Prepared', { contentVersion: 2 }), known: objects(), want: 'NoObject' },
    { when: 'its start was refused and nothing ever ran', copy: aCopy('Rejected'), known: objects(), want: undefined },
    { when: 'it is absent', copy: aCopy('Absent', { contentVersion: 2 }), known: objects(), want: undefined },
    { when: 'the agent does not know what it was made for', copy: aCopy('Running', { name: '' }), known: objects(), want: undefined },
  ])('$when → $want', ({ copy, epoch = 1, known, on = runner(), want }) => {
    expect(unnamedCopies(facts(copy, epoch), on, known).map(({ kind }) => kind)).toEqual(want === undefined ? [] : [want]);
  });

  const unnamed: UnnamedCopy = { uid: 'uid-box', epoch: 1, namespace: 'default', name: 'box', kind: 'NoObject' };
  it.each([
    { when: 'there is nothing of this name', object: undefined, want: 'NoObject' },
    { when: 'another object has this name', object: onR1.metadata({ uid: 'new' }), want: 'NoObject' },
    { when: 'the object names it: the cache was behind', object: onR1, want: undefined },
    { when: 'the object names other copies', object: onR1.status(epochOf(2)), want: 'Superseded' },
  ])('the API server has the last word: $when → $want', ({ object, want }) => {
    expect(confirmed(unnamed, facts(running), object?.obj())?.kind).toBe(want);
  });
});

function assignment() {
  const { assignment: own } = onR1.obj().status;
  if (own === undefined) throw new Error('it is assigned');
  return own;
}

function epochOf(epoch: number) {
  return { assignment: { ...assignment(), epoch } };
}

function otherStore() {
  return { assignment: { ...assignment(), storeID: 'store-of-before' } };
}

function withPrevious(epoch: number) {
  return { assignment: { ...assignment(), previous: { runnerName: 'r1', storeID: 'store-r1', epoch, contentVersion: 1 } } };
}
