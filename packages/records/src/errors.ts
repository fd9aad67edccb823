/** What a {@link RecordsError} is about. */
export type RecordsErrorCode =
  /** A text is not a hash key. */
  | 'ERR_HASH_KEY'
  /** A hash range starts after its end, or can't be split as asked. */
  | 'ERR_HASH_RANGE'
  /** A text is neither a sequence number nor a sentinel. */
  | 'ERR_POSITION'
  /** A shard map would hold the same shard twice. */
  | 'ERR_SHARD_MAP'
  /** There is nothing to build an aggregate of, or a record can't be part of one. */
  | 'ERR_AGGREGATE'

/**
 * What this package throws, always because of the arguments: repeating the call doesn't help.
 * Tell errors apart by `code`, not by `instanceof`: two copies of the package may be installed.
 */
export class RecordsError extends Error {
  override readonly name: string = 'RecordsError'
  readonly code: RecordsErrorCode
  readonly retryable: boolean = false

  constructor(code: RecordsErrorCode, message: string) {
    super(message)
    this.code = code
  }
}

/** Quotes a text for a message, shortened so that a huge input doesn't make a huge message. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text)
}
