/** The account that every stream is in. */
export const ACCOUNT = '000000000000'

/** An error as the service answers it: a type, a text, and the HTTP status it comes with. */
export class ServiceError extends Error {
  override readonly name = 'ServiceError'
  readonly type: string
  readonly status: number

  constructor(type: string, message: string, status = 400) {
    super(message)
    this.type = type
    this.status = status
  }
}

export function invalidArgument(message: string): ServiceError {
  return new ServiceError('InvalidArgumentException', message)
}

export function validation(message: string): ServiceError {
  return new ServiceError('ValidationException', `1 validation error detected: ${message}`)
}

export function notFound(message: string): ServiceError {
  return new ServiceError('ResourceNotFoundException', message)
}

export function streamNotFound(name: string): ServiceError {
  return notFound(`Stream ${name} under account ${ACCOUNT} not found.`)
}

export function inUse(message: string): ServiceError {
  return new ServiceError('ResourceInUseException', message)
}

export function limitExceeded(message: string): ServiceError {
  return new ServiceError('LimitExceededException', message)
}

export function throughputExceeded(message: string): ServiceError {
  return new ServiceError('ProvisionedThroughputExceededException', message)
}

export function internalFailure(message = 'Internal service failure.'): ServiceError {
  return new ServiceError('InternalFailureException', message, 500)
}

/** How the service's messages name a stream. */
export function streamLabel(name: string): string {
  return `stream ${name} under account ${ACCOUNT}`
}
