import { describe, expect, it } from '@jest/globals';
import { reason } from './meta.ts';
import { RUNNER_REASONS, SANDBOX_REASONS } from './reasons.ts';

describe('reasons', () => {
  it('can all be written into a status', () => {
    for (const name of [...SANDBOX_REASONS, ...RUNNER_REASONS]) expect(reason('status.reason').safeParse(name).success).toBe(true);
  });

  it('are each listed once for sandboxes', () => expect(new Set(SANDBOX_REASONS).size).toBe(SANDBOX_REASONS.length));
});
