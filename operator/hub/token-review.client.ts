import type { Reviews } from '../../kube/reviews.ts';
import { expiryOf } from './token.ts';
import type { AgentAuthenticator, Authentication } from './stream.ts';

const nodeClaim = 'authentication.kubernetes.io/node-name';

export interface TokenAuthenticatorOptions {
  readonly reviews: Reviews;
  /** The audience that agents' tokens must have. */
  readonly audience: string;
  /** Namespace of the agents' ServiceAccount `berth-agent`. */
  readonly namespace: string;
}

/** Agents show a token of their ServiceAccount that is bound to their node and meant for the operator. */
export function tokenAuthenticator({ reviews, audience, namespace }: TokenAuthenticatorOptions): AgentAuthenticator {
  const expected = `system:serviceaccount:${namespace}:berth-agent`;
  return {
    authenticate: async (token) => {
      if (token === undefined || token === '') return refused('Unauthenticated', 'The stream has no bearer token.');
      const answer = await reviews.authenticate(token, [audience]);
      if (answer.kind === 'refused') return refused('Unauthenticated', `The token is not valid for ${audience}: ${answer.reason}.`);
      const { username, extra } = answer.user;
      if (username !== expected) return refused('PermissionDenied', `The token belongs to ${username}; agents are ${expected}.`);
      const [nodeName] = extra[nodeClaim] ?? [];
      if (nodeName === undefined) return refused('PermissionDenied', 'The token is not bound to a node.');
      return { kind: 'Authenticated', identity: { nodeName, expiresAt: expiryOf(token) } };
    },
  };
}

/** Believes everybody: only for a hub that listens on the loopback interface without TLS. */
export const noAuthentication: AgentAuthenticator = {
  authenticate: () => Promise.resolve({ kind: 'Authenticated', identity: { nodeName: undefined, expiresAt: undefined } }),
};

function refused(code: 'Unauthenticated' | 'PermissionDenied', message: string): Authentication {
  return { kind: 'Refused', code, message };
}
