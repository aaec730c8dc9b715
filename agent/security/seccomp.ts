import arm64 from './gen/seccomp-arm64.json' with { type: 'json' };
import x64 from './gen/seccomp-x64.json' with { type: 'json' };
import { BerthError } from '../../process/errors.ts';
import type { SeccompProfile } from './oci.ts';

const profiles: Readonly<Record<string, SeccompProfile>> = { arm64, x64 };

/**
 * The profile for an architecture as Node names it.
 * @throws BerthError `UnsupportedArchitecture`: sandboxes never run without one.
 */
export function seccompProfile(architecture: string): SeccompProfile {
  const profile = profiles[architecture];
  if (profile === undefined)
    throw new BerthError(
      'UnsupportedArchitecture',
      `There is no seccomp profile for the architecture '${architecture}': use ${Object.keys(profiles).join(' or ')}.`,
    );
  return profile;
}
