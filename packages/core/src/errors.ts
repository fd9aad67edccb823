/** What every error of the Shardwise packages has. */
export interface ShardwiseErrorOptions extends ErrorOptions {
  /** Whether doing the same again may succeed without a change by the caller. */
  readonly retryable?: boolean
}

/**
 * The base of every error that a Shardwise package throws. Each package has one subclass with its own `code` union.
 * Tell errors apart by `code`, not by `instanceof`: two copies of a package may be installed.
 */
export class ShardwiseError<Code extends string = string> extends Error {
  override readonly name: string = 'ShardwiseError'
  readonly code: Code
  readonly retryable: boolean

  constructor(code: Code, message: string, options: ShardwiseErrorOptions = {}) {
    super(message, options)
    this.code = code
    this.retryable = options.retryable ?? false
  }
}
