import { expect, it } from '@jest/globals';
import { connectionConditions, type ConnectionState } from './status.ts';

const up: ConnectionState = { id: '10-0-0-1-3001', isConnected: true, reason: 'Connected', message: 'a-10-0-0-1-3001' };
const down: ConnectionState = { ...up, isConnected: false, reason: 'ConnectionLost', message: 'gone' };
const at = (ms: number) => new Date(ms).toISOString().replace('.000Z', 'Z');

it('a pod gets a condition, keeps its time while nothing changes, and loses it when it is not known any more', () => {
  const first = connectionConditions([], [up], 0);
  expect(first).toEqual([
    {
      type: 'connection.berth.dev/10-0-0-1-3001',
      status: 'True',
      reason: 'Connected',
      message: 'a-10-0-0-1-3001',
      lastTransitionTime: at(0),
    },
  ]);
  expect(connectionConditions(first, [up], 5_000)).toBe(first);
  expect(connectionConditions(first, [down], 5_000)).toMatchObject([{ status: 'False', lastTransitionTime: at(5_000) }]);
  expect(connectionConditions(first, [], 5_000)).toEqual([]);
});
