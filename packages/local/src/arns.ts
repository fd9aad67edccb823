import { checkPattern } from './requests.ts'
import { ACCOUNT } from './service-error.ts'

/** The account and region that this Kinesis says it is in. */
const PREFIX = `arn:aws:kinesis:us-east-1:${ACCOUNT}:stream/`
/** As the API reference has it; whose account and which region is not looked at: there is only one here. */
const ARN =
  /^arn:aws[^:]*:kinesis:[^:]*:\d{12}:stream\/([a-zA-Z0-9_.-]{1,128})(?:\/consumer\/[a-zA-Z0-9_.-]{1,128}:\d+)?$/

export function streamArn(name: string): string {
  return PREFIX + name
}

/** A consumer that is registered again under its name has another ARN, by its time. */
export function consumerArn(streamName: string, name: string, createdMs: number): string {
  return `${PREFIX}${streamName}/consumer/${name}:${Math.floor(createdMs / 1000)}`
}

/**
 * The name of the stream in the ARN of a stream or of one of its consumers.
 *
 * @throws {ServiceError} ValidationException when it is no such ARN
 */
export function streamNameIn(arn: string, field: string): string {
  checkPattern(field, arn, ARN)
  return ARN.exec(arn)![1]!
}

export function isOfConsumer(arn: string): boolean {
  return arn.includes('/consumer/')
}
