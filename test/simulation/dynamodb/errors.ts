/** An error as a client of the SDK throws it: told apart by `name`, with `$metadata` and `$fault`. */
export class DynamoDBModelError extends Error {
  readonly $fault = 'client'
  readonly $metadata: { readonly httpStatusCode: number } = { httpStatusCode: 400 }

  /** @param fields what this kind of error carries besides, e.g. `Item` or `CancellationReasons` */
  constructor(name: string, message: string, fields: object = {}) {
    super(message)
    this.name = name
    Object.assign(this, fields)
  }
}

export function invalid(message: string): DynamoDBModelError {
  return new DynamoDBModelError('ValidationException', message)
}

export function conditionFailed(fields: object = {}): DynamoDBModelError {
  return new DynamoDBModelError('ConditionalCheckFailedException', 'The conditional request failed', fields)
}

/** The model lacks what was asked of it: a mistake of the test, never an answer of the service. */
export function notModelled(what: string): Error {
  return new Error(`The DynamoDB model has no ${what}. Add it, with the service's behaviour, or do without it.`)
}
