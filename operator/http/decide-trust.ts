import { BerthError } from '../../process/errors.ts';

export interface TrustSettings {
  readonly auth: 'token' | 'none' | undefined;
  readonly usesTls: boolean;
  /** Only this machine can connect. */
  readonly isLoopback: boolean;
  /** The administrator says that everybody who can connect is trusted. */
  readonly isUnsafeAllowed: boolean;
}

/**
 * Whether everybody who connects is believed without a token. Not asked for, that is so only where nobody else can connect and a token would have to
 * travel in plain text. @throws BerthError `InsecureAuth`, `InsecureListen`
 */
export function decideTrust({ auth, usesTls, isLoopback, isUnsafeAllowed }: TrustSettings): boolean {
  const isReachable = !isLoopback && !isUnsafeAllowed;
  if (isReachable && !usesTls)
    throw new BerthError(
      'InsecureListen',
      'Without TLS the operator listens only on the loopback interface: set a certificate and key, or, in a network in which everybody is trusted, BERTH_UNSAFE_LISTEN.',
    );
  if (isReachable && auth === 'none')
    throw new BerthError(
      'InsecureAuth',
      'With BERTH_AUTH=none the operator listens only on the loopback interface: leave it away, or, in a network in which everybody is trusted, set BERTH_UNSAFE_LISTEN.',
    );
  if (auth !== undefined) return auth === 'none';
  return !usesTls && isLoopback;
}
