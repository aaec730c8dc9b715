import { describe, expect, it } from '@jest/globals';
import type { RegistryResult } from '../lifecycle/snapshot.ts';
import { freshMs, registryRetryMs, verificationOf } from './verification.ts';

const sought = { repository: 'registry.test/backups/default.a', digest: `sha256:${'1'.repeat(64)}`, contentVersion: 3 };
const work = { kind: 'Verify', depth: 'Meta', ...sought } as const;
const now = { wall: 1_000_000, monotonic: 500_000 };

function known(outcome: RegistryResult['outcome'], ageMs: number): readonly RegistryResult[] {
  return [{ work, failures: 0, at: now.monotonic - ageMs, outcome, sizeBytes: outcome === 'Whole' ? 70 : 0, message: 'said' }];
}

describe('what is known of a backup in the registry', () => {
  it.each([
    { when: 'nobody has looked', registry: [], want: { kind: 'Asked', work, lookAgainMs: registryRetryMs } },
    { when: 'it was whole a moment ago', registry: known('Whole', 10), want: { kind: 'Whole', sizeBytes: 70 } },
    {
      when: 'it was whole as a backup of another version',
      registry: known('Whole', 10).map((result) => ({ ...result, work: { ...work, contentVersion: 2 } })),
      want: { kind: 'Asked', work, lookAgainMs: registryRetryMs },
    },
    {
      when: 'it was whole too long ago',
      registry: known('Whole', freshMs + 1),
      want: { kind: 'Asked', work, lookAgainMs: registryRetryMs },
    },
    { when: 'a part is missing', registry: known('Missing', 10), want: { kind: 'Bad', message: 'said' } },
    {
      when: 'the registry has just not answered',
      registry: known('Unavailable', 1_000),
      want: { kind: 'Unavailable', message: 'said', work: undefined, lookAgainMs: registryRetryMs - 1_000 },
    },
    {
      when: 'the registry did not answer and it is time to ask again, however long the answer takes',
      registry: known('Unavailable', registryRetryMs + 20_000),
      want: { kind: 'Unavailable', message: 'said', work, lookAgainMs: registryRetryMs },
    },
  ])('when $when: $want.kind', ({ registry, want }) => expect(verificationOf({ registry, now }, sought, 'Meta')).toEqual(want));
});
