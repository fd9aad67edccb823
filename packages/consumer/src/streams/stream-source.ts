import type { InitialPosition } from '../leases/shard-sync.ts'

/** One stream that the application reads. */
export interface StreamSource {
  /** Name or ARN, as the service is asked. */
  readonly stream: string
  /** Names the stream in the keys of its leases; undefined where the application has one stream. */
  readonly identifier: string | undefined
  readonly initialPosition: InitialPosition
}

/**
 * `account:name:creation time in seconds`: what the KCL puts before the shard's id where an application has several streams.
 * A stream that was deleted and made anew has another one.
 */
export function streamIdentifier(arn: string, createdAt: Date): string {
  const [, , , , account = '', resource = ''] = arn.split(':')
  return `${account}:${resource.slice(resource.indexOf('/') + 1)}:${Math.floor(createdAt.getTime() / 1000)}`
}

/** The stream's name, without the rest of its ARN. */
export function streamName(stream: string): string {
  return stream.slice(stream.lastIndexOf('/') + 1)
}

export function leaseKeyOf(identifier: string | undefined, shardId: string): string {
  return identifier === undefined ? shardId : `${identifier}:${shardId}`
}
