import { describe, expect, it } from '@jest/globals';
import { suspensionOf } from './suspension.ts';

describe('many runners lost at once', () => {
  it.each([
    { known: 0, lost: 0, want: 'None' },
    { known: 1, lost: 1, want: 'None' },
    { known: 2, lost: 1, want: 'None' },
    { known: 3, lost: 1, want: 'None' },
    { known: 2, lost: 2, want: 'Suspended' },
    { known: 6, lost: 2, want: 'Suspended' },
    { known: 7, lost: 2, want: 'None' },
    { known: 10, lost: 3, want: 'None' },
    { known: 10, lost: 4, want: 'Suspended' },
    { known: 200, lost: 60, want: 'None' },
    { known: 200, lost: 61, want: 'Suspended' },
  ])('$lost of $known → $want', ({ want, ...health }) => expect(suspensionOf(health).kind).toBe(want));

  it('says how many', () => {
    expect(suspensionOf({ known: 10, lost: 4 })).toEqual({
      kind: 'Suspended',
      message: '4 of 10 runners are lost at once: recovery from Nodes that are gone or out of service is suspended.',
    });
  });
});
