import type { Reviews, UserInfo } from '../../kube/reviews.ts';
import { messageOf } from '../../process/errors.ts';
import { ApiError } from './errors.ts';
import type { Permission } from './route.ts';

/** Who asks, as far as what is done for them depends on it. */
export interface Caller {
  /** As the API server knows them. */
  readonly username: string;
  readonly user: UserInfo | undefined;
}

/** What a permission is asked for: all sandboxes, those of a namespace, or one. */
export interface Subject {
  readonly namespace?: string | undefined;
  readonly name?: string | undefined;
}

/** Says who callers are and what they may do. */
export interface Callers {
  /** @throws ApiError `Unauthenticated`, `AuthUnavailable` */
  identify(authorization: string | undefined): Promise<Caller>;
  /** @throws ApiError `Forbidden` naming verb and resource, `AuthUnavailable` */
  authorize(caller: Caller, permission: Permission, subject: Subject): Promise<void>;
}

export interface CallersOptions {
  readonly reviews: Reviews;
  /** The audience that tokens must have, so that a service that was shown a token can use it nowhere else. */
  readonly audience: string;
}

const group = 'berth.dev';
/** Callers that may wait for the API server at once, so that a flood of tokens that nobody knows does not become one there. */
const mostAsked = 256;

/** Callers show a bearer token that the API server knows, and may do what RBAC says. */
export function reviewedCallers({ reviews, audience }: CallersOptions): Callers {
  const asked = { now: 0 };
  const known = async <T>(question: () => Promise<T>): Promise<T> => {
    if (asked.now >= mostAsked) throw new ApiError('AuthUnavailable', 'Too many callers wait to be checked.');
    asked.now++;
    try {
      return await question();
    } catch (cause) {
      throw new ApiError('AuthUnavailable', `Who asks can not be checked now: ${messageOf(cause)}`, { cause });
    } finally {
      asked.now--;
    }
  };
  return {
    identify: async (authorization) => {
      const token = bearerOf(authorization);
      if (token === undefined) throw new ApiError('Unauthenticated');
      const answer = await known(() => reviews.authenticate(token, [audience]));
      if (answer.kind === 'authenticated') return { username: answer.user.username, user: answer.user };
      throw new ApiError('Unauthenticated', `The token is not valid here: ${answer.reason}. It must be made for the audience ${audience}.`);
    },
    authorize: async ({ username, user }, { verb, subresource }, { namespace, name }) => {
      if (user === undefined) throw new ApiError('Forbidden');
      const attributes = { verb, group, resource: 'sandboxes', subresource, namespace, name };
      const answer = await known(() => reviews.authorize(user, attributes));
      if (answer.kind === 'allowed') return;
      const where = namespace === undefined ? 'in all namespaces' : `in the namespace ${namespace}`;
      const one = name === undefined ? '' : ` of ${name}`;
      throw new ApiError('Forbidden', `${username} may not ${verb} sandboxes/${subresource}.${group}${one} ${where}.`, {
        details: {
          verb,
          resource: `sandboxes/${subresource}`,
          group,
          ...(namespace !== undefined && { namespace }),
          ...(name !== undefined && { name }),
        },
      });
    },
  };
}

/** Nobody is asked who they are, and everybody may do everything: for a network in which everybody is trusted. */
export const trustedCallers: Callers = {
  identify: () => Promise.resolve({ username: 'anonymous', user: undefined }),
  authorize: () => Promise.resolve(),
};

function bearerOf(header: string | undefined): string | undefined {
  const [scheme = '', token = '', ...more] = (header ?? '').split(' ').filter((part) => part !== '');
  return scheme.toLowerCase() === 'bearer' && token !== '' && more.length === 0 ? token : undefined;
}
