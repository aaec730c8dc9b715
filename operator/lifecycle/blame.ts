import { SANDBOX_REASONS, type SandboxReason } from '../../crds/index.ts';

/**
 * With whom the cause of a failed attempt lies.
 * Sandbox: what the user wrote; the same everywhere. Registry: the image could not be had here and now; neither is at fault.
 * Capacity: the runner is full. Content: what should lie there does not. Runner: everything else.
 */
export type Blame = 'Sandbox' | 'Registry' | 'Capacity' | 'Content' | 'Runner';

const known: Readonly<Partial<Record<SandboxReason, Blame>>> = {
  InvalidSpec: 'Sandbox',
  ImageNotFound: 'Sandbox',
  ImageUnauthorized: 'Sandbox',
  ImagePullSecretNotFound: 'Sandbox',
  ImagePullSecretInvalid: 'Sandbox',
  EnvSecretNotFound: 'Sandbox',
  EnvSecretKeyNotFound: 'Sandbox',
  EnvSecretInvalid: 'Sandbox',
  ImageUnsuitable: 'Sandbox',
  CommandMissing: 'Sandbox',
  CommandNotFound: 'Sandbox',
  CommandNotExecutable: 'Sandbox',
  WorkingDirNotFound: 'Sandbox',
  UserNotFound: 'Sandbox',
  OutOfMemoryAtStart: 'Sandbox',
  ImageNotPresent: 'Registry',
  ImagePullFailed: 'Registry',
  RegistryUnavailable: 'Registry',
  InsufficientOnRunner: 'Capacity',
  TooManyCopies: 'Content',
  ContentMissing: 'Content',
};

/** A reason that is not known to lie elsewhere lies with the runner: another one is tried rather than none. */
export function blameOf(reason: SandboxReason): Blame {
  return known[reason] ?? 'Runner';
}

/** The reason as an agent gave it; one that this version does not know is RuntimeFailed. */
export function reasonOf(text: string): SandboxReason {
  return SANDBOX_REASONS.find((reason) => reason === text) ?? 'RuntimeFailed';
}

/** One line that ends as a sentence does, whatever it was. */
export function sentence(text: string, fallback: string): string {
  const line = (text === '' ? fallback : text).replaceAll(/\s+/g, ' ').trim().slice(0, 1024);
  const upper = line.charAt(0).toUpperCase() + line.slice(1);
  return /[.!?]$/.test(upper) ? upper : `${upper}.`;
}
