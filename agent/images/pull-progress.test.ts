import { expect, it } from '@jest/globals';
import { type BlobProgress, progressOf, type ProgressEvent, withEvent } from './pull-progress.ts';

const after = (...events: readonly ProgressEvent[]): BlobProgress => events.reduce(withEvent, new Map());
const event = (name: string, blob: string, progress: number, total: number): ProgressEvent => ({
  event: name,
  name: blob,
  progress,
  total,
});

it.each([
  { when: 'nothing was heard', events: [], want: { phase: 'Pulling', bytes: 0, totalBytes: 0 } },
  { when: 'a message is about no blob', events: [event('Resolving', '', 0, 0)], want: { phase: 'Pulling', bytes: 0, totalBytes: 0 } },
  {
    when: 'a layer is coming',
    events: [event('complete', 'manifest-a', 10, 10), event('downloading', 'layer-b', 40, 100)],
    want: { phase: 'Pulling', bytes: 50, totalBytes: 210 },
  },
  {
    when: 'an older message comes late',
    events: [event('downloading', 'layer-b', 40, 100), event('downloading', 'layer-b', 30, 100)],
    want: { phase: 'Pulling', bytes: 40, totalBytes: 200 },
  },
  {
    when: 'everything is here',
    events: [event('complete', 'manifest-a', 10, 10), event('complete', 'layer-b', 100, 100)],
    want: { phase: 'Unpacking', bytes: 110, totalBytes: 210 },
  },
  {
    when: 'a layer is being unpacked whose last download message never came',
    events: [event('downloading', 'layer-b', 40, 100), event('extracting', 'layer-b', 25, 100)],
    want: { phase: 'Unpacking', bytes: 125, totalBytes: 200 },
  },
  {
    when: 'it is unpacked',
    events: [event('already exists', 'layer-b', 100, 100), event('extracted', 'layer-b', 100, 100)],
    want: { phase: 'Unpacking', bytes: 200, totalBytes: 200 },
  },
])('when $when: $want.bytes of $want.totalBytes', ({ events, want }) => {
  expect(progressOf(after(...events))).toEqual(want);
});
