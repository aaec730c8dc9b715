import { describe, expect, it } from '@jest/globals';
import { phasesOf } from './phases.ts';

describe('the phases of a start', () => {
  const line = (ms: number, fields: object) => JSON.stringify({ time: new Date(1_000_000 + ms).toISOString(), ...fields });
  const operator = [
    'not a line of the log',
    line(2, { msg: 'Processing sandbox runner assignment', sandboxId: 'u' }),
    line(6, { msg: 'Sandbox status written', key: 'default/a', state: 'Creating' }),
    line(30, { msg: 'Report received', uid: 'u', state: 2 }),
    line(55, { msg: 'Report received', uid: 'u', state: 4 }),
  ].join('\n');
  const agent = [
    line(3, { msg: 'Step begun', step: 'Prepare', uid: 'other' }),
    line(4, { msg: 'Step begun', step: 'Prepare', uid: 'u' }),
  ].join('\n');
  const starts = [{ name: 'a', uid: 'u', answered: 1_000_000, seen: 1_000_060 }];

  it('are told from the answer to the POST, each by its first line about that sandbox', () => {
    expect(Object.fromEntries([...phasesOf([operator, agent], starts)].filter(([, values]) => values.length > 0))).toEqual({
      decided: [2],
      'preparing begun': [4],
      'Creating acknowledged': [6],
      'report received': [55],
      'Started seen': [60],
    });
  });
});
