/** Copies that share one shim process, as the records say. Cheaper in memory and quicker to start; a shim that dies takes its group along, so a group is bounded. */
export interface ShimGroup {
  /** The copy that founded it. */
  readonly id: string;
  /** Copies with a task in this shim. */
  readonly members: readonly string[];
  /** Copies that are being created in it. */
  readonly joining: readonly string[];
  /** The member whose id containerd's sandbox store names, so that others can join it; empty: nobody can join now. */
  readonly anchor: string;
}

/** The fullest group that has room: shims stay few, and groups that run empty end. */
export function chooseGroup(groups: readonly ShimGroup[], size: number): ShimGroup | undefined {
  return groups
    .filter((group) => group.anchor !== '' && occupants(group) < size)
    .sort((a, b) => occupants(b) - occupants(a) || a.id.localeCompare(b.id))
    .at(0);
}

/** A member that can become the anchor: any that stays. */
export function chooseAnchor(group: ShimGroup, leaving: ReadonlySet<string>): string | undefined {
  return group.members.find((member) => !leaving.has(member));
}

function occupants(group: ShimGroup): number {
  return group.members.length + group.joining.length;
}

/** Groups of what runs: `members` are the copies with a task, `anchors` the ids in containerd's sandbox store. */
export function restoreGroups(
  members: readonly { readonly id: string; readonly group: string }[],
  anchors: ReadonlySet<string>,
): readonly ShimGroup[] {
  const byGroup = Map.groupBy(
    members.filter((member) => member.group !== ''),
    (member) => member.group,
  );
  return [...byGroup].map(([id, of]) => {
    const ids = of.map((member) => member.id);
    return { id, members: ids, joining: [], anchor: ids.find((member) => anchors.has(member)) ?? '' };
  });
}
