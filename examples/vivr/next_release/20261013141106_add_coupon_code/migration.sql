-- AlterTable
ALTER TABLE "Order" ADD COLUMN     "couponCode" TEXT;

-- CreateIndex
CREATE INDEX CONCURRENTLY "Order_couponCode_idx" ON "Order"("couponCode");
