/** RFC 3339 with whole seconds: metav1.Time, as conditions and metadata carry it. */
export function timestamp(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d{3}Z$/, 'Z');
}

/** RFC 3339 with exactly six fractional digits: metav1.MicroTime. The API server refuses a Lease or an Event with any other number of them. */
export function microTimestamp(ms: number): string {
  return new Date(ms).toISOString().replace(/Z$/, '000Z');
}
