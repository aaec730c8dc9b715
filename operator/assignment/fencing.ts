import { isLost, type RunnerView } from './runner-view.ts';

/** Who says that the machine of a runner is off or was restarted. */
export type Fencing =
  /** `spec.fenced` of the Runner. */
  | 'Administrator'
  /** Its Node has the taint `node.kubernetes.io/out-of-service`. */
  | 'NodeOutOfService'
  /** Its Node is gone. */
  | 'NodeGone';

export const OUT_OF_SERVICE_TAINT = 'node.kubernetes.io/out-of-service';

/** What Nodes say of a runner's machine; undefined where nobody watches Nodes. */
export type NodeView = { readonly kind: 'Gone' } | { readonly kind: 'Known'; readonly taints: readonly string[] } | undefined;

/** Section 8 of the design: what asserts that nothing runs on the machine. There is no fencing by time. While recovery is suspended, Nodes are not believed. */
export function fencingOf(fenced: boolean, node: NodeView, isSuspended: boolean): Fencing | undefined {
  if (fenced) return 'Administrator';
  if (isSuspended || node === undefined) return undefined;
  if (node.kind === 'Gone') return 'NodeGone';
  return node.taints.includes(OUT_OF_SERVICE_TAINT) ? 'NodeOutOfService' : undefined;
}

/** Nothing that was started on this disk before can still run: the runner is lost, and fenced. While its agent is connected, the agent's answers count and nothing else. */
export function isProvenFenced(runner: RunnerView, storeID: string): boolean {
  return runner.fencing !== undefined && isLost(runner) && runner.storeID === storeID;
}

/** For messages. */
export function describeFencing(fencing: Fencing): string {
  switch (fencing) {
    case 'Administrator':
      return 'spec.fenced of the Runner is true';
    case 'NodeOutOfService':
      return `its Node has the taint ${OUT_OF_SERVICE_TAINT}`;
    case 'NodeGone':
      return 'its Node is gone';
  }
}
