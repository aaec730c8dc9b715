/**
 * Labels on an image that say for which Kubernetes namespaces a registry gave exactly this content. The value is the digest: an image
 * whose name has come to mean other content is proven anew.
 */
const prefix = 'proof.berth.dev/';

export function proofLabels(namespace: string, digest: string): Record<string, string> {
  return { [`${prefix}${namespace}`]: digest };
}

/** The proofs among an image's labels. */
export function proofsOf(labels: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(labels).filter(([key]) => key.startsWith(prefix)));
}

export function hasProof(labels: Readonly<Record<string, string>>, namespace: string, digest: string): boolean {
  return digest !== '' && labels[`${prefix}${namespace}`] === digest;
}

/** No pull of ours made it: an administrator loaded it for everybody. */
export function isPreloaded(labels: Readonly<Record<string, string>>): boolean {
  return Object.keys(proofsOf(labels)).length === 0;
}
