import type { ServiceError } from '@shardwise/local'

/** As the SDK throws what a service refuses. */
export function refusal({ type, status, message }: Pick<ServiceError, 'type' | 'status' | 'message'>): Error {
  return Object.assign(new Error(message), { name: type, $metadata: { httpStatusCode: status } })
}
