/** The value, or undefined for a text that is not JSON: the schema that it is given to says so in its own words. */
export function parseJSON(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
