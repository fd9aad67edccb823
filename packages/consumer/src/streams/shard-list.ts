import { errorCode, type Kinesis, type ListShardsOptions, listShards, type Shard } from '@shardwise/core'
import { ConsumerError } from '../errors.ts'

/**
 * Lists the stream's shards.
 *
 * @throws {ConsumerError} `ERR_STREAM` if there is no such stream; other errors as they come
 */
export async function shardsOf(kinesis: Kinesis, stream: string, options: ListShardsOptions): Promise<Shard[]> {
  try {
    return await listShards(kinesis, stream, options)
  } catch (error) {
    if (errorCode(error) !== 'ResourceNotFoundException') throw error
    throw new ConsumerError(
      'ERR_STREAM',
      `There is no stream "${stream}" in this account and region, or no longer: create it, or check the "stream" option.`,
      { cause: error },
    )
  }
}
