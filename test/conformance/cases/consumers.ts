import { expect } from 'vitest'
import type { Case } from '../case.ts'
import { refusal, until } from '../stage.ts'

export const consumers: readonly Case[] = [
  {
    name: 'a registered consumer becomes ACTIVE and is found by its ARN and by its name',
    run: async (stage) => {
      const { arn: StreamARN } = await stage.stream()
      const ConsumerARN = await stage.consumer(StreamARN, 'reader')
      expect(ConsumerARN).toMatch(/^arn:aws:kinesis:us-east-1:\d{12}:stream\/[^/]+\/consumer\/reader:\d+$/)
      const byArn = await stage.kinesis.describeStreamConsumer({ ConsumerARN })
      expect(byArn.ConsumerDescription).toMatchObject({
        ConsumerName: 'reader',
        ConsumerARN,
        ConsumerStatus: 'ACTIVE',
        ConsumerCreationTimestamp: expect.any(Date),
        StreamARN,
      })
      const byName = await stage.kinesis.describeStreamConsumer({ StreamARN, ConsumerName: 'reader' })
      expect(byName.ConsumerDescription).toEqual(byArn.ConsumerDescription)
    },
  },
  {
    name: 'a second consumer of the same name is refused with ResourceInUseException',
    run: async (stage) => {
      const { arn: StreamARN } = await stage.stream()
      await stage.consumer(StreamARN)
      expect(await refusal(stage.kinesis.registerStreamConsumer({ StreamARN, ConsumerName: 'reader' }))).toBe(
        'ResourceInUseException',
      )
    },
  },
  {
    name: 'ListStreamConsumers gives consumers in pages',
    run: async (stage) => {
      const { arn: StreamARN } = await stage.stream()
      for (const name of ['one', 'three', 'two']) await stage.consumer(StreamARN, name)
      const first = await stage.kinesis.listStreamConsumers({ StreamARN, MaxResults: 2 })
      expect(first.Consumers!.length).toBe(2)
      const second = await stage.kinesis.listStreamConsumers({ StreamARN, NextToken: first.NextToken })
      expect(second.NextToken).toBeUndefined()
      const names = [...first.Consumers!, ...second.Consumers!].map(({ ConsumerName }) => ConsumerName)
      expect(names.sort()).toEqual(['one', 'three', 'two'])
    },
  },
  {
    name: 'DescribeStreamSummary counts the consumers',
    run: async (stage) => {
      const { name, arn } = await stage.stream()
      await stage.consumer(arn, 'one')
      await stage.consumer(arn, 'two')
      expect((await stage.untilActive(name)).ConsumerCount).toBe(2)
    },
  },
  {
    name: 'a deregistered consumer is gone',
    run: async (stage) => {
      const { arn: StreamARN } = await stage.stream()
      const ConsumerARN = await stage.consumer(StreamARN)
      await stage.kinesis.deregisterStreamConsumer({ ConsumerARN })
      await until('the consumer to be gone', async () => {
        const described = await refusal(stage.kinesis.describeStreamConsumer({ ConsumerARN }))
        return described === 'ResourceNotFoundException' ? true : undefined
      })
      expect((await stage.kinesis.listStreamConsumers({ StreamARN })).Consumers).toEqual([])
    },
  },
  {
    name: 'a consumer of a stream that does not exist is refused with ResourceNotFoundException',
    run: async (stage) => {
      const { name, arn } = await stage.stream()
      const StreamARN = arn.replace(name, 'no-such-stream')
      expect(await refusal(stage.kinesis.registerStreamConsumer({ StreamARN, ConsumerName: 'reader' }))).toBe(
        'ResourceNotFoundException',
      )
    },
  },
]
