import { withoutQueries } from '../containerd/containerd-error.ts';
import { AttemptError } from '../copies/attempt-error.ts';
import type { AttemptErrorCode } from '../copies/runtime.ts';

interface Rule {
  readonly said: RegExp;
  readonly code: AttemptErrorCode;
  readonly sentence: (image: string, host: string) => string;
}

/** First match wins. containerd answers most of these with the status Unknown: only its text tells them apart. */
const rules: readonly Rule[] = [
  {
    said: /no space left on device|disk quota exceeded/i,
    code: 'OutOfDisk',
    sentence: (image) => `The runner's disk has no room for the image ${image}.`,
  },
  {
    said: /\b(401|403)\b (unauthorized|forbidden)|authorization failed|failed to authorize|no basic auth credentials|insufficient_scope|access denied/i,
    code: 'ImageUnauthorized',
    sentence: (image, host) => `The registry ${host} refuses to give the image ${image}: check imagePullSecrets.`,
  },
  {
    said: /no match for platform/i,
    code: 'ImageUnsuitable',
    sentence: (image) => `The image ${image} is not made for this machine's architecture.`,
  },
  {
    said: /failed to resolve image: .*not found|: not found$|manifest unknown|name unknown/i,
    code: 'ImageNotFound',
    sentence: (image, host) => `The registry ${host} has no image ${image}.`,
  },
  {
    said: /x509:|certificate|server gave HTTP response to HTTPS client|tls: /i,
    code: 'RegistryUnavailable',
    sentence: (_image, host) =>
      `The registry ${host} could not be trusted: its certificate is not accepted, or it speaks plain http and is not configured so.`,
  },
  {
    said: /connection refused|no such host|i\/o timeout|network is unreachable|no route to host|connection reset|context deadline exceeded|unexpected EOF|EOF$|\b(5\d\d|429|408)\b [A-Z]|TLS handshake timeout|failed to do request/i,
    code: 'RegistryUnavailable',
    sentence: (image, host) => `The registry ${host} did not answer the request for the image ${image}.`,
  },
  {
    said: /wrong diff id|unexpected commit digest|failed to extract layer|invalid tar header|archive\/tar|gzip: invalid|unexpected media type|media type|failed to unmarshal|schema 1|unsupported|invalid character/i,
    code: 'ImageUnsuitable',
    sentence: (image) => `The image ${image} is damaged or of a kind that cannot be used.`,
  },
];

/** Why a pull failed, from containerd's text. */
export function pullError(image: string, host: string, said: string, cause?: unknown): AttemptError {
  const rule = rules.find((candidate) => candidate.said.test(said));
  const message = rule?.sentence(image, host) ?? `The image ${image} could not be pulled: ${firstLine(said)}`;
  return new AttemptError(rule?.code ?? 'ImagePullFailed', message, { cause, details: { image, host, said } });
}

function firstLine(text: string): string {
  return withoutQueries(text.split('\n')[0] ?? '').slice(0, 300);
}
