-- AlterTable
ALTER TABLE "Product" ADD COLUMN     "metadata" JSONB NOT NULL DEFAULT '{}';

-- AlterTable
ALTER TABLE "Order" ADD COLUMN     "metadata" JSONB NOT NULL DEFAULT '{}';

-- AlterTable
ALTER TABLE "Payment" ADD COLUMN     "metadata" JSONB NOT NULL DEFAULT '{}';
