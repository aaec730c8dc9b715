import { canonicalHost } from '../../process/registry-credential.ts';
import { AttemptError } from '../copies/attempt-error.ts';

/** An image reference in full. */
export interface ImageReference {
  /** Where the registry answers, with its port: `docker.io`, `127.0.0.1:5000`. */
  readonly host: string;
  readonly repository: string;
  /** Empty when only a digest was given. */
  readonly tag: string;
  readonly digest: string;
}

const domain = /^(localhost|.*[.:].*|\[.*\](:\d+)?)$/;
const repositoryName = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*$/;
const tagName = /^\w[\w.-]{0,127}$/;
const digestName = /^sha256:[0-9a-f]{64}$/;

/**
 * Reads a reference as `docker pull` and pods do: no host means Docker Hub, no tag and no digest means `latest`.
 * @throws AttemptError `InvalidSpec`
 */
export function parseReference(text: string): ImageReference {
  const at = text.indexOf('@');
  const digest = at < 0 ? undefined : text.slice(at + 1);
  const [name, tag] = splitTag(at < 0 ? text : text.slice(0, at));
  const { host, repository } = splitHost(name);
  const valid =
    repositoryName.test(repository) && (tag === undefined || tagName.test(tag)) && (digest === undefined || digestName.test(digest));
  if (!valid)
    throw new AttemptError(
      'InvalidSpec',
      `'${text}' is not an image reference: write it as registry/repository:tag or registry/repository@sha256:….`,
    );
  return { host, repository, tag: tag ?? (digest === undefined ? 'latest' : ''), digest: digest ?? '' };
}

function splitHost(name: string): Pick<ImageReference, 'host' | 'repository'> {
  const [first = '', ...rest] = name.split('/');
  const hasHost = rest.length > 0 && domain.test(first);
  const host = hasHost ? canonicalHost(first) : 'docker.io';
  const path = hasHost ? rest.join('/') : name;
  return { host, repository: host === 'docker.io' && !path.includes('/') ? `library/${path}` : path };
}

function splitTag(name: string): readonly [string, string | undefined] {
  const colon = name.lastIndexOf(':');
  return colon > name.lastIndexOf('/') ? [name.slice(0, colon), name.slice(colon + 1)] : [name, undefined];
}

/** How containerd names the image: with the digest when there is one, since a tag beside it says nothing. */
export function storeName({ host, repository, tag, digest }: ImageReference): string {
  return digest === '' ? `${host}/${repository}:${tag}` : `${host}/${repository}@${digest}`;
}
