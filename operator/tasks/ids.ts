/** What a reservation or a task is called: `<uuid>.<storeID>.<runner name>`, so that every pod knows whom to ask about it. */
export interface PlacedID {
  readonly uuid: string;
  readonly storeID: string;
  readonly runnerName: string;
}

const shape = /^([0-9a-f-]{1,64})\.([0-9a-z-]{1,64})\.([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)$/;

/** Undefined for what is no such id. */
export function parsePlacedID(text: string): PlacedID | undefined {
  const [, uuid, storeID, runnerName] = shape.exec(text) ?? [];
  return uuid === undefined || storeID === undefined || runnerName === undefined ? undefined : { uuid, storeID, runnerName };
}

export function placedID({ uuid, storeID, runnerName }: PlacedID): string {
  return `${uuid}.${storeID}.${runnerName}`;
}
