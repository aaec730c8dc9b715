import { describe, expect, it } from '@jest/globals';
import { sandboxSchema } from '../../../crds/index.ts';
import { deadlineFault } from './deadlines.ts';

const metadata = { namespace: 'n', name: 's', uid: 'uid-1', resourceVersion: '1', creationTimestamp: '2026-01-01T00:00:00Z' };
const at = (seconds: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, seconds)).toISOString().replace('.000Z', 'Z');
const lasting = (from: number, until?: number) => ({
  transition: { startTime: at(from), ...(until !== undefined && { deadlineTime: at(until) }), attempts: 0 },
});
const aSandbox = (status: object) =>
  sandboxSchema.parse({ metadata, spec: { image: 'i:1', terminationGracePeriodSeconds: 5 }, status: { contentVersion: 1, ...status } });
const faultOf = ([before, after]: readonly [object, object]) => deadlineFault(aSandbox(after), aSandbox(before).status);

describe('the deadline of a state', () => {
  it.each([
    { when: 'is as allowed, rounded to whole seconds', of: [{ state: 'Stopped' }, { state: 'Starting', ...lasting(0, 61) }] },
    {
      when: 'stays',
      of: [
        { state: 'Starting', ...lasting(0, 60) },
        { state: 'Starting', order: 7, ...lasting(0, 60) },
      ],
    },
    {
      when: 'begins anew with the next version',
      of: [
        { state: 'Starting', ...lasting(0, 60) },
        { state: 'Starting', contentVersion: 2, ...lasting(9, 69) },
      ],
    },
    {
      when: 'is that of another state',
      of: [
        { state: 'Starting', ...lasting(0, 60) },
        { state: 'Stopping', ...lasting(50, 85) },
      ],
    },
    { when: 'is missing where a state may last', of: [{ state: 'Starting', ...lasting(0, 60) }, { state: 'Started' }] },
  ] as const)('that $when is right', ({ of }) => expect(faultOf(of)).toBeUndefined());

  it.each([
    { when: 'is missing', of: [{ state: 'Stopped' }, { state: 'Starting', ...lasting(0) }], want: 'Starting without a deadline' },
    {
      when: 'is later than allowed',
      of: [{ state: 'Started' }, { state: 'Stopping', ...lasting(0, 60) }],
      want: 'Stopping for 60 s, and 35 s are allowed',
    },
    {
      when: 'is put off',
      of: [
        { state: 'Starting', ...lasting(0, 60) },
        { state: 'Starting', ...lasting(1, 61) },
      ],
      want: `Starting from ${at(0)} to ${at(60)} is put off: from ${at(1)} to ${at(61)}`,
    },
    {
      when: 'stays, while the time is counted anew',
      of: [
        { state: 'Starting', ...lasting(0, 60) },
        { state: 'Starting', ...lasting(1, 60) },
      ],
      want: `Starting from ${at(0)} to ${at(60)} is put off: from ${at(1)} to ${at(60)}`,
    },
  ] as const)('that $when is told', ({ of, want }) => expect(faultOf(of)).toBe(want));
});
