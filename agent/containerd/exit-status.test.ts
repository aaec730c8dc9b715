import { expect, it } from '@jest/globals';
import { exitStatus, lostExit } from './exit-status.ts';

it.each([
  { how: 'ended well', status: 0, oomKills: 0, want: { signal: 0, oomKilled: false } },
  { how: 'failed', status: 3, oomKills: 0, want: { signal: 0, oomKilled: false } },
  { how: 'ended by SIGTERM', status: 143, oomKills: 0, want: { signal: 15, oomKilled: false } },
  { how: 'killed', status: 137, oomKills: 0, want: { signal: 9, oomKilled: false } },
  { how: 'killed for want of memory', status: 137, oomKills: 1, want: { signal: 9, oomKilled: true } },
  {
    how: 'killed by Berth after a child was killed for want of memory',
    status: 137,
    oomKills: 1,
    killed: true,
    want: { signal: 9, oomKilled: false },
  },
  { how: 'failed after a child was killed for want of memory', status: 1, oomKills: 2, want: { signal: 0, oomKilled: false } },
  { how: 'ended by the last signal', status: 192, oomKills: 0, want: { signal: 64, oomKilled: false } },
  { how: 'ended with a large number of its own', status: 255, oomKills: 0, want: { signal: 0, oomKilled: false } },
])('$how', ({ status, oomKills, killed = false, want }) => {
  expect(exitStatus({ status, finishTimeMs: 5, oomKills, killed })).toEqual({ code: status, finishTimeMs: 5, lost: false, ...want });
});

it('an exit that nobody saw has the code 255', () => {
  expect(lostExit(5)).toEqual({ code: 255, signal: 0, oomKilled: false, finishTimeMs: 5, lost: true });
});
